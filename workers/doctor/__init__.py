"""The checks of `spawner doctor`."""
