"""What `spawner doctor` examines."""
