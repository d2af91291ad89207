"""Data files: in a clone at their places in the tree, in a wheel below `app/shipped`."""

from functools import cache
from pathlib import Path
from typing import Final, Literal

Shipped = Literal["migrations", "catalog.yaml", "Caddyfile", "answers.caddyfile"]

PACKAGE: Final = Path(__file__).resolve().parents[1]
# pyproject.toml copies each of these into the wheel under its name here.
IN_A_CLONE: Final[dict[Shipped, str]] = {
    "migrations": "alembic",
    "catalog.yaml": "images/catalog.yaml",
    "Caddyfile": "deploy/Caddyfile",
    "answers.caddyfile": "deploy/answers.caddyfile",
}


def shipped(name: Shipped) -> Path:
    """Return the path of the file or folder."""
    installed = PACKAGE / "shipped" / name
    return installed if installed.exists() else PACKAGE.parent / IN_A_CLONE[name]


@cache
def code_revision() -> str:
    """Return the newest migration's revision, a four-digit number."""
    return max(path.name[:4] for path in (shipped("migrations") / "versions").glob("[0-9]*.py"))
