"""Accounts and request authentication: sessions, tokens, devices."""
