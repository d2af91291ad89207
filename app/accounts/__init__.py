"""Accounts, and what a request proves about who sends it: sessions, tokens, devices."""
