"""Runs inside a workspace, as its main program: tries what must not succeed, and says over HTTP how each try went.

`GET /` answers every outcome; `/bomb`, `/hog` and `/flood` try to take the machine's processes, memory and disk.
"""

import contextlib
import ctypes
import functools
import http.server
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
from collections.abc import Callable

TARGETS: dict[str, tuple[str, int]] = json.loads(os.environ["TARGETS"])
NAMES: list[str] = json.loads(os.environ["NAMES"])
PATIENCE = 1.5
libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> None:
    """A function of the C library that answers -1 when it is refused."""
    if getattr(libc, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def connect(host: str, port: int) -> None:
    socket.create_connection((host, port), PATIENCE).close()


def resolve(name: str) -> None:
    """A name server's word that there is no such name is an answer where that is all one can say of it."""
    try:
        socket.getaddrinfo(name, 80)
    except socket.gaierror as error:
        if error.errno != socket.EAI_NONAME or not name.endswith(".invalid"):
            raise


def setuid_shell() -> None:
    done = subprocess.run(["/rootsh", "-p", "-c", "echo $EUID"], capture_output=True, text=True)
    if done.stdout.strip() != "0" or os.geteuid() == 0:
        raise OSError(f"euid {done.stdout.strip()}")


def foreign_processes() -> None:
    comms = {path.read_text().strip() for path in pathlib.Path("/proc").glob("[0-9]*/comm")}
    if not comms & {"dockerd", "containerd", "hello"}:
        raise OSError(f"only {sorted(comms)}")


def host_devices() -> None:
    found = {path.name for path in pathlib.Path("/dev").iterdir()} & {
        "mem",
        "kmem",
        "kmsg",
        "sda",
        "vda",
        "nvme0",
        "fuse",
    }
    if not found:
        raise OSError("none")


def engine_socket() -> None:
    for path in ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock"):
        if pathlib.Path(path).exists():
            socket.socket(socket.AF_UNIX).connect(path)
            return
    raise OSError("no socket")


def write(path: str | pathlib.Path) -> None:
    pathlib.Path(path).write_text("1")


def any_cgroup() -> None:
    for path in pathlib.Path("/sys/fs/cgroup").rglob("*"):
        if path.name in ("memory.limit_in_bytes", "memory.max", "pids.max", "cgroup.procs", "release_agent"):
            write(path)
            return
    raise OSError("nothing to write to")


def ipv6() -> None:
    if not pathlib.Path("/proc/net/if_inet6").exists() or not pathlib.Path("/proc/net/if_inet6").read_text().strip():
        raise OSError("no address")


NEWNS, NEWUTS, NEWUSER, NEWNET = 0x20000, 0x4000000, 0x10000000, 0x40000000
ATTEMPTS: dict[str, Callable[[], object]] = {
    "mount a file system": lambda: call("mount", b"none", b"/mnt", b"tmpfs", 0, None),
    "bind the host's processes": lambda: call("mount", b"/proc", b"/mnt", None, 4096, None),
    "make proc writable": lambda: call("mount", b"none", b"/proc/sys", None, 32 | 4096, None),
    "trace a process of the host": lambda: call("ptrace", 16, int(os.environ["HOST_PID"]), None, None),
    "signal a process of the host": lambda: os.kill(int(os.environ["HOST_PID"]), 0),
    "see processes of others": foreign_processes,
    "open a raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    "open a packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "run a setuid root shell": setuid_shell,
    "use the engine's socket": engine_socket,
    "set the core pattern": lambda: write("/proc/sys/kernel/core_pattern"),
    "forward packets": lambda: write("/proc/sys/net/ipv4/ip_forward"),
    "pull the kernel's trigger": lambda: write("/proc/sysrq-trigger"),
    "write to sysfs": lambda: write("/sys/kernel/uevent_helper"),
    "raise the own limits": any_cgroup,
    "read the kernel's memory": lambda: os.pread(os.open("/proc/kcore", os.O_RDONLY), 4096, 0)[0],
    "open the host's devices": host_devices,
    "make a device": lambda: os.mknod("/tmp/disk", 0o60600, os.makedev(8, 0)),
    "load a module": lambda: call("syscall", 175, b"x", 1, b""),
    "load a module from a file": lambda: call("syscall", 313, 0, b"", 0),
    "load another kernel": lambda: call("syscall", 246, 0, 0, None, 0),
    "load a program into the kernel": lambda: call("syscall", 321, 5, ctypes.create_string_buffer(128), 128),
    "open a file by its handle": lambda: call("syscall", 304, -100, ctypes.create_string_buffer(128), 0),
    "read the kernel's keys": lambda: call("syscall", 250, 0, -3, 1, 0, 0),
    "set the clock": lambda: call("syscall", 227, 0, ctypes.create_string_buffer(16)),
    "reboot": lambda: call("syscall", 169, 0, 0, 0, None),
    "change the root": lambda: os.chroot("/tmp"),
    "make a user namespace": lambda: call("unshare", NEWUSER),
    "make a mount namespace": lambda: call("unshare", NEWNS),
    "make a network namespace": lambda: call("unshare", NEWNET),
    "change the host's name": lambda: call("sethostname", b"mine", 4),
    "become another user": lambda: os.setuid(65534 if os.geteuid() == 0 else 0),
    "have an IPv6 address": ipv6,
    **{f"connect to {name}": functools.partial(connect, *at) for name, at in TARGETS.items()},
    **{f"resolve {name}": functools.partial(resolve, name) for name in NAMES},
}


def outcomes() -> dict[str, str]:
    said: dict[str, str] = {}

    def run(name: str, attempt: Callable[[], object]) -> None:
        try:
            attempt()
            said[name] = "succeeded"
        except Exception as error:
            said[name] = f"refused: {error}"

    apart = [(name, attempt) for name, attempt in ATTEMPTS.items() if name.startswith(("connect", "resolve"))]
    threads = [threading.Thread(target=run, args=pair) for pair in apart]
    for thread in threads:
        thread.start()
    for name, attempt in ATTEMPTS.items():
        if (name, attempt) not in apart:
            run(name, attempt)
    for thread in threads:
        thread.join()
    return said


def bomb() -> dict[str, int]:
    """Fork until that fails, from every fork."""
    child = os.fork()
    if child == 0:
        while True:
            with contextlib.suppress(OSError):
                os.fork()
    return {"began": child}


def hog() -> dict[str, int]:
    code = "import mmap\nheld=[]\nfor _ in range(160):\n m=mmap.mmap(-1,1<<26); m.write(b'x'*(1<<26)); held.append(m)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    return {"ended": done.returncode}


def flood() -> dict[str, int]:
    line = "x" * 1023 + "\n"
    for _ in range(40 * 1024):
        sys.stdout.write(line)
    sys.stdout.flush()
    return {"written": 40 << 20}


ANSWERS: dict[str, Callable[[], object]] = {
    "/": outcomes,
    "/live": dict,
    "/bomb": bomb,
    "/hog": hog,
    "/flood": flood,
}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps(ANSWERS[self.path]()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *_: object) -> None:
        """The log is flooded on purpose only."""


http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
