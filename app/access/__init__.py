"""Permission to enter a workspace: its owner, people it is shared with, and admins with a reason."""
