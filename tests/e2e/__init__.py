"""The whole service as processes: API, workers, Caddy, a real engine."""
