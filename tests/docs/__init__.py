"""The documents: each statement that names a test, a decision or a layer is checked."""
