"""Links, sessions and tokens: who is calling."""
