"""Workspaces on one Docker Engine."""
