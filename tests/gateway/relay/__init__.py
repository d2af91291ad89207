"""The relay of websockets, without a proxy before it."""
