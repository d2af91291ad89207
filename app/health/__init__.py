"""Liveness, readiness, and the running processes."""
