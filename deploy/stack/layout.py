"""Where the embedded stack keeps its things, and the choices it remembers."""

import hashlib
import json
import os
import socket
import stat
import tempfile
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from deploy.stack.console import StepFailed

# A socket's path may have 107 bytes; the longest name below a run directory is PostgreSQL's, and supervisor first
# binds a name with its pid added.
LONGEST_SOCKET_DIRECTORY = 107 - len("/supervisor.sock.4194304")


@dataclass(frozen=True, slots=True)
class Layout:
    """One clone's files. `root` is the repository, `run` a directory whose path is short enough for sockets."""

    root: Path
    run: Path

    @property
    def state(self) -> Path:
        """Everything that `make clean` removes."""
        return self.root / ".spawner"

    @property
    def logs(self) -> Path:
        """One file a part."""
        return self.state / "log"

    @property
    def maildir(self) -> Path:
        """Where the mail sink delivers."""
        return self.state / "mail"

    @property
    def environment(self) -> Path:
        """The settings that the stack runs with."""
        return self.state / "env"

    @property
    def python(self) -> Path:
        """The interpreter of the virtual environment."""
        return self.root / ".venv" / "bin" / "python"

    @property
    def sockets(self) -> Path:
        """Where API and gateway listen for Caddy: no other user can enter."""
        return self.run / "http"

    @property
    def identity(self) -> str:
        """Eight characters that tell this clone from others on the same machine."""
        return identity(self.root)

    def log(self, part: str) -> Path:
        """The log of one part."""
        return self.logs / f"{part}.log"


def identity(root: Path) -> str:
    """Derive eight stable characters from a directory's path."""
    return hashlib.sha256(str(root).encode()).hexdigest()[:8]


def open_layout(root: Path) -> Layout:
    """Make the state directories of a clone, readable by their owner alone, and say where they are."""
    root = root.resolve()
    state = root / ".spawner"
    # The state directory itself can be passed through: PostgreSQL runs as a user of its own when we are root.
    for directory, mode in ((state, 0o711), (state / "log", 0o700)):
        directory.mkdir(mode=mode, exist_ok=True)
        directory.chmod(mode)
    run = socket_directory(state / "run", identity(root))
    own_directory(run, 0o711)
    layout = Layout(root=root, run=run)
    own_directory(layout.sockets, 0o700)
    return layout


def socket_directory(wanted: Path, name: str, uid: int | None = None) -> Path:
    """Return `wanted` if sockets fit below it and every user may pass through its parents, else a short directory.

    PostgreSQL's own user must reach its socket when we are root, so a clone in a closed home uses /run.
    """
    uid = os.getuid() if uid is None else uid
    short = len(os.fsencode(wanted)) <= LONGEST_SOCKET_DIRECTORY - len("/pg")
    if short and (uid != 0 or passable(wanted.parent)):
        return wanted
    if uid == 0:
        return Path(f"/run/spawner-{name}")
    return Path(tempfile.gettempdir()) / f"spawner-{uid}-{name}"


def passable(directory: Path) -> bool:
    """Say whether every user may pass through the directory and all of its parents."""
    return all(path.stat().st_mode & stat.S_IXOTH for path in (directory, *directory.parents))


def own_directory(path: Path, mode: int) -> None:
    """Make a directory, or accept one that is ours and no link: the parent may be one that everybody writes to."""
    with suppress(FileExistsError):
        path.mkdir(mode=mode)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise StepFailed(f"{path} exists and is not a directory of ours; remove it")
    path.chmod(mode)


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Say whether a server could listen there now."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port(first: int | None = None) -> int:
    """Find a loopback port nobody listens on: from `first` upwards, or any."""
    if first is not None:
        return next(port for port in range(first, 65536) if port_is_free(port))
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def read_ports(layout: Layout) -> dict[str, int]:
    """Read the ports that an earlier `make up` chose."""
    try:
        return {str(name): int(port) for name, port in json.loads((layout.state / "ports.json").read_text()).items()}
    except (OSError, ValueError, AttributeError):
        return {}


def write_ports(layout: Layout, ports: dict[str, int]) -> None:
    """Remember the ports, so that the next `make up` changes nothing."""
    write_private(layout.state / "ports.json", json.dumps(ports, indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """Replace a file by one that its owner alone reads, whole or not at all."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    temporary.replace(path)
