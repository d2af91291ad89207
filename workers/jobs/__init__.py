"""A worker's handling of one job."""
