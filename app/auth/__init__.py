"""Signing in: links, codes, invitations, and what a sign-in starts."""
