"""Page texts in each language."""
