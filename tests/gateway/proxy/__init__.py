"""The gateway behind a real Caddy."""
