"""Workspaces: requests, state, and views."""
