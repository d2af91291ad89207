"""The `spawner` command; `app.cli.commands` joins its modules."""
