"""What runs Spawner: the proxy's configuration and the embedded stack."""
