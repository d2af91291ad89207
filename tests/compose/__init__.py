"""compose.yaml, as an operator starts it: from a copy of the clone, with five lines of `.env`."""
