"""The `spawner` program. Answers the frequent liveness probe without importing the application."""

import sys


def main() -> None:
    """Run the command line."""
    if sys.argv[1:] == ["worker", "live"]:
        from workers.liveness import probe

        raise SystemExit(probe())
    from app.cli.commands import app

    app(prog_name="spawner")


if __name__ == "__main__":
    main()
