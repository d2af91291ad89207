"""Authorises requests to workspaces, for the reverse proxy."""
