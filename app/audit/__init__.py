"""The audit trail: writing, reading and exporting it."""
