"""What a user sees of themselves and of their workspaces."""
