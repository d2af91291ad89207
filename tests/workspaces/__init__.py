"""Tests of app/workspaces."""
