"""Secrets: keys, tokens, rate limits and redaction."""
