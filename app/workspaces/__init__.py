"""Workspaces: what is asked of them, what their rows mean, and how they are shown."""
