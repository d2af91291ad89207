"""The `spawner` command: `app.cli.commands` joins what the other modules hold."""
