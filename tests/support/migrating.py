"""Migrations, as an operator runs them."""

import asyncio
import subprocess
import sys

from tests.conftest import ROOT


async def alembic(url: str, *arguments: str) -> str:
    """Run alembic; its output. Fails with its errors."""
    command = [sys.executable, "-m", "alembic", "-x", f"url={url}", *arguments]
    done = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
