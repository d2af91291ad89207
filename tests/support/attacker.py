"""Runs inside a workspace, as its main program: tries what must not succeed, and says over HTTP how each try went.

`GET /` answers every outcome; `/bomb`, `/hog` and `/flood` try to take the machine's processes, memory and disk.
"""

import contextlib
import ctypes
import errno
import functools
import http.server
import json
import os
import pathlib
import resource
import select
import signal
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


FAMILIES = {"unix": 1, "IPv4": 2, "IPv6": 10, "netlink": 16}
URING, SETUP, KEYCTL, ADD_KEY, CLONE3, QUEUE = 425, 206, 250, 248, 435, 240


def families() -> dict[str, list[int]]:
    """Every kind of socket that opens, by family; of netlink the protocols."""
    opened: dict[str, list[int]] = {}
    for family in range(64):
        for kind in range(1, 11):
            for protocol in range(32) if family == FAMILIES["netlink"] else (0,):
                with contextlib.suppress(OSError):
                    socket.socket(family, kind, protocol).close()
                    opened.setdefault(str(family), []).append(protocol)
    return opened


def calls() -> dict[str, str]:
    """Try system calls that bypass egress rules or exhaust the machine; returns their errors."""
    words = (ctypes.c_ulong * 16)()
    said = {}
    tried: dict[str, tuple[object, ...]] = {
        "io_uring_setup": (URING, 8, words),
        "io_setup": (SETUP, 16000, words),
        "keyctl": (KEYCTL, 1, 0),
        "add_key": (ADD_KEY, b"user", b"x", b"y", 1, -3),
        "clone3": (CLONE3, words, 64),
        "mq_open": (QUEUE, b"x", 66, 384, None),
        "userfaultfd": (323, 0),
        "fanotify_init": (300, 0, 0),
        "pidfd_getfd": (438, 0, 0, 0),
    }
    for name, arguments in tried.items():
        answer = libc.syscall(*arguments)
        said[name] = errno.errorcode[ctypes.get_errno()] if answer == -1 else "succeeded"
    return said


def other_abi() -> dict[str, int]:
    """The system calls of 32-bit programs, whose arguments no rule can see: how a process ends that makes one."""
    # mov eax, 20 (getpid); int 0x80; ret
    code = (
        "import ctypes, mmap\n"
        "page = mmap.mmap(-1, 4096, prot=7)\n"
        "page.write(bytes.fromhex('b814000000cd80c3'))\n"
        "ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()\n"
    )
    return {"ended": subprocess.run([sys.executable, "-c", code], capture_output=True).returncode}


class Clock(ctypes.Structure):
    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signo", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("pad", ctypes.c_int * 12),
    )


def timer() -> object:
    """One pending signal of the user's."""
    event, made = Clock(signo=signal.SIGUSR1), ctypes.c_int()
    call("syscall", 222, 1, ctypes.byref(event), ctypes.byref(made))
    return made


def watch() -> object:
    """One more file that is watched."""
    made = libc.inotify_init1(0)
    if made == -1:
        raise OSError(ctypes.get_errno(), "inotify_init1")
    call("inotify_add_watch", made, b"/usr", 2)
    return made


def polls() -> object:
    made = select.epoll()
    for descriptor in range(3):
        with contextlib.suppress(PermissionError):
            made.register(descriptor)
    return made


def datagram(host: str) -> object:
    """One connection that the machine has to remember."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.sendto(b"x", (host, 53))
    return made


TAKERS: dict[str, Callable[[], object]] = {
    "aio": lambda: call("syscall", SETUP, 16000, ctypes.byref(ctypes.c_ulong())),
    "terminals": os.openpty,
    "inotify": watch,
    "epoll": polls,
    "pipes": os.pipe,
    "files": lambda: os.open("/dev/null", os.O_RDONLY),
    "keys": lambda: call("syscall", ADD_KEY, b"user", os.urandom(8).hex().encode(), b"y", 1, -3),
    "queues": lambda: call("syscall", QUEUE, os.urandom(8).hex().encode(), 66, 384, None),
    "timers": timer,
    "connections": lambda: datagram(TARGETS["the internet"][0]),
}
# Processes that take; of 64 in a workspace.
THIEVES = 40


def seize(what: str) -> dict[str, object]:
    """Take one thing until it is refused, in many processes, and keep it. Says how many, and the refusals."""
    reader, writer = os.pipe()
    for _ in range(THIEVES):
        if os.fork() == 0:
            os.close(reader)
            thieve(what, writer)
    os.close(writer)
    with os.fdopen(reader) as lines:
        said = [line.split() for line in lines]
    return {"held": sum(int(count) for count, _ in said), "refusals": sorted({word for _, word in said})}


def thieve(what: str, writer: int) -> None:
    """Take one resource in a process that never ends by itself.

    The limit on descriptors stops it: with more, the container's own memory would run out before any shared resource.
    """
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    held, refusal = [], ""
    while not refusal:
        try:
            held.append(TAKERS[what]())
        except OSError as error:
            refusal = errno.errorcode.get(error.errno or 0, "?")
    os.write(writer, f"{len(held)} {refusal}\n".encode())
    os.close(writer)
    while True:
        signal.pause()


def take(what: str) -> dict[str, str]:
    """Take one thing, as anybody would."""
    try:
        TAKERS[what]()
    except OSError as error:
        return {"said": errno.errorcode.get(error.errno or 0, "?")}
    return {"said": "ok"}


def signals() -> dict[str, bool]:
    """Whether a process here still hears what another one tells it."""
    child = subprocess.Popen(["sleep", "60"])
    child.terminate()
    return {"heard": child.wait(30) == -signal.SIGTERM}


ANSWERS: dict[str, Callable[[], object]] = {
    "/signals": signals,
    "/": outcomes,
    "/families": families,
    "/calls": calls,
    "/abi": other_abi,
    **{f"/seize/{what}": functools.partial(seize, what) for what in TAKERS},
    **{f"/take/{what}": functools.partial(take, what) for what in TAKERS},
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
