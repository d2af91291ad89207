"""A worker's periodic tasks."""
