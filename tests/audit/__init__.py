"""What is done is written down, and stays."""
