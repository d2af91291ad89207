"""The audit trail: recording, queries and export."""
