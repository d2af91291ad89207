"""Helpers of several tests stand in tests/support: no test module is imported by another module."""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

MODULES = sorted(path for folder in ("tests", "bench") for path in (ROOT / folder).rglob("*.py"))


def imported(text: str) -> set[str]:
    """Names of modules that a text may import; `from a import b` may mean `a.b`."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or "", *(f"{node.module or ''}.{alias.name}" for alias in node.names)}
    return found


def forbidden(text: str) -> set[str]:
    """The test modules among what a text imports."""
    names = {name for name in imported(text) if name.partition(".")[0] == "tests"}
    return {name for name in names if any(part.startswith("test_") for part in name.split("."))}


@pytest.mark.parametrize("text", ["import tests.web.test_home", "from tests.web import test_home as t"])
def test_an_import_of_a_test_module_is_noticed(text: str) -> None:
    assert forbidden(text) == {"tests.web.test_home"}


def test_no_test_module_is_imported() -> None:
    found = {str(path.relative_to(ROOT)): forbidden(path.read_text()) for path in MODULES}
    assert {path: names for path, names in found.items() if names} == {}


def test_nothing_but_the_fixtures_stands_in_the_hall() -> None:
    assert {path.name for path in (ROOT / "tests").glob("*.py")} == {"__init__.py", "conftest.py"}


def test_every_folder_with_tests_is_a_package() -> None:
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    assert [folder for folder in folders if not (Path(folder) / "__init__.py").exists()] == []
