"""Egress rules: one nftables table per installation, in this process's network namespace.

The base rules cover the installation's whole range, so most launches need no rule. Restrictions and extra permissions
of a workspace are set elements keyed by its subnet. Other tables are neither read nor written.
"""

import asyncio
import contextlib
import fcntl
import ipaddress
import json
import shutil
import socket
import subprocess  # nosec B404 # one program, whose name and arguments are ours
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from app.runtime.base import EgressUnenforceable
from app.runtime.egress import EGRESS_INTERNET, PRIVATE, Egress

RESOLV: Final = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
NFT_SECONDS: Final = 10.0
LOCK_SECONDS: Final = 40.0
LOOK_SECONDS: Final = 0.002
NAMESPACE: Final = Path("/proc/self/ns/net")
REFUSE: Final = "reject with icmpx admin-prohibited"
# Connections per workspace beyond its own network: the conntrack table is the host's.
MAX_CONNECTIONS: Final = 2048
# Counted per /28, the network of a workspace, whatever source address is used.
COUNTED: Final = f"ct state new add @counted {{ ip saddr & 255.255.255.240 ct count over {MAX_CONNECTIONS} }} {REFUSE}"
# Rules by chain. Replies to inbound connections (proxy, probe) always pass. On the engine's host only DNS is reachable;
# ports that it publishes count as the host.
CHAINS: Final = {
    "through": ["ip saddr @networks jump leaving"],
    "towards": ['iifname != "lo" ip saddr @networks jump calling'],
    "leaving": [
        "ct direction reply accept",
        COUNTED,
        f"ip saddr @closed {REFUSE}",
        "meta l4proto { tcp, udp } th dport 53 ip daddr @resolvers accept",
        f"ip daddr @networks {REFUSE}",
        f"ct status dnat {REFUSE}",
        "ip saddr . ip daddr @listed accept",
        f"ip saddr @limited {REFUSE}",
        f"ip daddr @private {REFUSE}",
    ],
    "calling": [
        "ct direction reply accept",
        COUNTED,
        f"ip saddr @closed {REFUSE}",
        "meta l4proto { tcp, udp } th dport 53 ip daddr @resolvers accept",
        REFUSE,
    ],
}
# Before the engine's own rules, which have priority 0.
HOOKS: Final = {"through": "forward", "towards": "input"}
SETS: Final = ("networks", "resolvers", "private", "closed", "limited")
CHANGING: Final = ("networks", "closed", "limited", "listed")

Elements = Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class State:
    """The kernel's state: whether the table exists, whether its base is complete, and the sets' elements."""

    there: bool
    whole: bool
    elements: Elements


@dataclass(frozen=True, slots=True)
class DesiredRules:
    """All subnets of the installation, and the subnets with restricted egress."""

    subnets: Sequence[str]
    rules: Mapping[str, Egress]


class EgressBusy(EgressUnenforceable):
    """Another process holds the lock on the rules for too long."""

    transient = True


class Firewall:
    """The rules of one installation. `resolvers` are DNS servers that workspaces may use besides the host's.

    Methods are idempotent and safe across processes; failures raise `EgressUnenforceable`.
    """

    def __init__(self, instance: str, network_range: str, resolvers: Sequence[str] = ()) -> None:
        self.table = table_of(instance)
        self._range = network_range
        self._given = resolvers

    @property
    def _resolvers(self) -> list[str]:
        """Return the DNS servers, read at each call: the host's may change."""
        return sorted({*self._given, *name_servers()})

    @property
    def _mark(self) -> str:
        """Return the comment of every rule; changes with the base rules."""
        base = [self._range, self._resolvers, PRIVATE, CHAINS, HOOKS]
        return "spawner " + sha256(json.dumps(base).encode()).hexdigest()[:12]

    async def read_state(self) -> State:
        """Read the table. Raises without the privilege."""
        try:
            text = await _nft("-j", "list", "table", "inet", self.table)
        except EgressUnenforceable as fault:
            if "No such file or directory" in str(fault):
                return State(False, False, {})
            raise
        return self._read(json.loads(text)["nftables"])

    async def ensure(self) -> None:
        """Create the base rules unless complete."""
        async with _alone():
            state = await self.read_state()
            await self._bring(state, {name: state.elements.get(name, frozenset()) for name in CHANGING})

    async def set(self, subnet: str, egress: Egress) -> None:
        """Apply `egress` to a subnet's workspace from now on."""
        if egress != EGRESS_INTERNET and not is_local(gateway_of(subnet)):
            raise EgressUnenforceable("the engine's networks are not on this machine: rules made here hold nobody")
        async with _alone():
            state = await self.read_state()
            wanted = _elements({subnet: egress})
            for name in CHANGING:
                others = {item for item in state.elements.get(name, ()) if item.partition(" . ")[0] != subnet}
                wanted[name] = wanted[name] | others
            wanted["networks"] |= self._outside([subnet])
            await self._bring(state, wanted)

    async def reconcile(self, read_desired: Callable[[], Awaitable[DesiredRules]]) -> int:
        """Apply the result of `read_desired`, called under the lock. Returns the number of differences."""
        async with _alone():
            state = await self.read_state()
            desired = await read_desired()
            elements = _elements(desired.rules)
            elements["networks"] = self._outside(desired.subnets)
            return await self._bring(state, elements)

    async def remove(self) -> None:
        """Delete the table if it exists."""
        if (await self.read_state()).there:
            await _nft("delete", "table", "inet", self.table)

    def _outside(self, subnets: Sequence[str]) -> frozenset[str]:
        """Return the subnets outside the range: they were created under another range."""
        own = ipaddress.IPv4Network(self._range)
        return frozenset(item for item in subnets if not ipaddress.IPv4Network(item).subnet_of(own))

    async def _bring(self, state: State, wanted: Elements) -> int:
        """Apply the difference in one kernel transaction; returns the number of changes."""
        lines, changes = ([], 0) if state.whole else (self._base(), 1)
        for name in CHANGING:
            before = state.elements.get(name, frozenset()) - {self._range}
            after = wanted[name] - {self._range}
            for verb, elements in (("delete", before - after), ("add", after - before)):
                if elements:
                    changes += len(elements)
                    lines.append(f"{verb} element inet {self.table} {name} {{ {', '.join(sorted(elements))} }}")
        if lines:
            await _nft("-f", "-", script="\n".join(lines) + "\n")
        return changes

    def _base(self) -> list[str]:
        """Build the base rules; keeps the subnets' elements."""
        table = f"inet {self.table}"
        mark = self._mark
        fixed = {"networks": [self._range], "resolvers": self._resolvers, "private": PRIVATE}
        lines = [
            f"add table {table}",
            *(f"add set {table} {name} {{ type ipv4_addr; flags interval; }}" for name in SETS),
        ]
        lines.append(f"add set {table} listed {{ type ipv4_addr . ipv4_addr; flags interval; }}")
        lines.append(f"add set {table} counted {{ type ipv4_addr; size 65535; flags dynamic; }}")
        for name, elements in fixed.items():
            if name != "networks":
                lines.append(f"flush set {table} {name}")
            if elements:
                lines.append(f"add element {table} {name} {{ {', '.join(elements)} }}")
        for name in CHAINS:
            hook = f"{{ type filter hook {HOOKS[name]} priority -10; policy accept; }}" if name in HOOKS else ""
            lines += [f"add chain {table} {name} {hook}", f"flush chain {table} {name}"]
        for name, rules in CHAINS.items():
            lines += [f'add rule {table} {name} {rule} comment "{mark}"' for rule in rules]
        return lines

    def _read(self, objects: list[dict[str, Any]]) -> State:
        rules = [(item["rule"]["chain"], item["rule"].get("comment")) for item in objects if "rule" in item]
        mark = self._mark
        expected = [(name, mark) for name, texts in CHAINS.items() for _ in texts]
        hooks = {item["chain"]["name"]: item["chain"].get("hook") for item in objects if "chain" in item}
        sets = {item["set"]["name"]: item["set"].get("elem", []) for item in objects if "set" in item}
        # The kernel alone writes the counting set's elements.
        elements = {name: frozenset(map(_text, found)) for name, found in sets.items() if name != "counted"}
        whole = (
            sorted(rules, key=str) == sorted(expected)
            and all(hooks.get(name) == hook for name, hook in HOOKS.items())
            and self._range in elements["networks"]
            and elements["private"] == set(PRIVATE)
        )
        return State(True, whole, elements)


@contextlib.asynccontextmanager
async def _alone() -> AsyncIterator[None]:
    """Serialise rule changes across processes. The lock is per network namespace, like the rules."""
    clock = asyncio.get_running_loop().time
    until = clock() + LOCK_SECONDS
    try:
        namespace = NAMESPACE.open()  # noqa: ASYNC230  # the kernel's own, in memory
    except OSError as error:
        raise EgressUnenforceable(f"this system has no network namespaces: {error}") from None
    with namespace:
        while True:
            try:
                fcntl.flock(namespace, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if clock() > until:
                    raise EgressBusy("somebody else keeps changing the rules") from None
                await asyncio.sleep(LOOK_SECONDS)
        yield


def table_of(instance: str) -> str:
    """Return an installation's table name."""
    return f"spawner_{instance}"


def name_servers(files: Sequence[Path] = RESOLV) -> list[str]:
    """Return the host's DNS servers, to which the engine forwards queries from the container's address.

    Like the engine: if the host's only one is systemd's stub, those behind it. The engine itself queries one on
    loopback.
    """
    found: list[str] = []
    for file in files:
        with contextlib.suppress(OSError):
            words = [line.split() for line in file.read_text().splitlines()]
            found = [word[1] for word in words if len(word) > 1 and word[0] == "nameserver"]
        if found != ["127.0.0.53"]:
            break
    return [item for item in found if ":" not in item and not ipaddress.IPv4Address(item).is_loopback]


def gateway_of(subnet: str) -> str:
    """Return the engine's address in its network: the first one."""
    return str(ipaddress.IPv4Network(subnet).network_address + 1)


def is_local(address: str) -> bool:
    """Return whether the address is this machine's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


async def _nft(*arguments: str, script: str | None = None) -> str:
    program = shutil.which("nft") or shutil.which("nft", path="/usr/sbin:/sbin")
    if program is None:
        raise EgressUnenforceable("there is no nft on this machine: install nftables")
    # In a thread: asyncio fails to write to a program that exits before reading.
    run = partial(subprocess.run, [program, *arguments], input=script or "", timeout=NFT_SECONDS, check=False)
    try:
        done = await asyncio.to_thread(partial(run, capture_output=True, text=True, errors="replace"))
    except OSError as error:
        raise EgressUnenforceable(f"nft cannot be run: {error}") from None
    except subprocess.TimeoutExpired:
        raise EgressBusy("nft did not end in time") from None
    if done.returncode:
        raise EgressUnenforceable(f"nft: {done.stderr.strip().partition(chr(10))[0]}")
    return done.stdout


def _text(item: Any) -> str:
    """Format an element as `address/prefix`, or a pair joined by a dot."""
    if isinstance(item, str):
        return f"{item}/32"
    if "concat" in item:
        return " . ".join(map(_text, item["concat"]))
    if "range" in item:
        ends = map(ipaddress.IPv4Address, item["range"])
        return ",".join(map(str, ipaddress.summarize_address_range(*ends)))
    return f"{item['prefix']['addr']}/{item['prefix']['len']}"


def _elements(rules: Mapping[str, Egress]) -> dict[str, frozenset[str]]:
    """Return the set elements that implement the rules."""
    listed = (f"{subnet} . {network}" for subnet, egress in rules.items() for network in egress.networks or ())
    return {
        "networks": frozenset(),
        "closed": frozenset(subnet for subnet, egress in rules.items() if egress.networks == ()),
        "limited": frozenset(subnet for subnet, egress in rules.items() if egress.networks),
        "listed": frozenset(listed),
    }
