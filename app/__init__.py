"""Spawner: containers for every person of a team, class or company."""
