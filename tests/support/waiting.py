"""How long a test waits for what must happen."""

# A passing test never waits this long, however slow the machine is: it goes on as soon as the state is there.
PATIENCE = 120

# For what must be woken: less than the 15 s after which a stream or a long poll would look again by itself.
SOON = 12
