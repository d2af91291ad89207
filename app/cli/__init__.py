"""The `spawner` command."""
