"""Workspaces and the jobs that change them."""
