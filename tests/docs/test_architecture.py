"""The picture of the layers in docs/architecture.md is that of the configuration which `make lint` checks."""

import re
import tomllib

from tests.conftest import ROOT


def test_the_picture_of_the_layers_is_the_checked_configuration() -> None:
    configured = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in configured if contract["id"] == "layers")
    page = (ROOT / "docs" / "architecture.md").read_text()
    picture = page.partition("## Layout, and who may import whom")[2].partition("```")[2].partition("```")[0]
    drawn = [re.split(r"  +", line)[0] for line in picture.strip().splitlines()]
    assert drawn == layers


def test_every_package_is_in_the_layers_and_says_what_it_is_for() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    named = {name for contract in contracts for layer in contract.get("layers", ()) for name in layer.split(" | ")}
    packages = {path.parent.name for path in (ROOT / "app").glob("*/__init__.py")}
    assert {f"app.{name}" for name in packages} <= named
    for path in [*(ROOT / "app").rglob("__init__.py"), *(ROOT / "workers").rglob("__init__.py")]:
        assert re.match(r'"""[A-Z`].+\."""', path.read_text()), path


def test_the_hall_of_the_application_holds_five_modules_at_most() -> None:
    assert len([path for path in (ROOT / "app").glob("*.py") if path.name != "__init__.py"]) <= 5
