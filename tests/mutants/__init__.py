"""Change the code in every small way, and count what no test notices."""
