"""The Docker Engine runtime."""
