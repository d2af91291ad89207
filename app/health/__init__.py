"""Liveness, readiness, and the processes of an installation."""
