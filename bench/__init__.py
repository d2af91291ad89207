"""Benchmarks: launches through Spawner against the engine alone, measured in the same run."""
