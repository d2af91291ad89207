"""Settings: their model, their checks and their sources."""
