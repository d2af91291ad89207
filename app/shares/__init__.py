"""Letting other people into one workspace, on purpose."""
