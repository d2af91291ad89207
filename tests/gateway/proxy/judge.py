"""What must hold of everything that came out of the edge, whatever went in."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.gateway.proxy.attacks import FORGED, Case
from tests.support.upstream import Arrival

_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+: [^\x00-\x08\x0a-\x1f\x7f]*|[!#$%&'*+.^_`|~0-9A-Za-z-]+:")
_REQUEST = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [!-~\x80-\xff]+ HTTP/1\.1")
_VIA = re.compile(rb"1\.[0-9] Caddy\Z")
# What comes by way of the relay is the last on its connection.
_CONNECTION: tuple[list[bytes], ...] = ([], [b"Upgrade"], [b"close"])
_CASE = re.compile(rb"[?&]id=([0-9]+)")


def case_of(target: bytes, fallback: Sequence[bytes]) -> int | None:
    """The number of the case that a request belongs to."""
    found = _CASE.search(target)
    numbers = [found[1]] if found else [value for value in fallback if value.isdigit()]
    return int(numbers[0]) if numbers else None


@dataclass(frozen=True, slots=True)
class Ask:
    """A request at the API below /internal, and what it was answered."""

    path: str
    headers: tuple[tuple[bytes, bytes], ...]
    status: int
    upstream: int | None

    def get(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key == name]


@dataclass
class Listener:
    """Stands before the API and writes down what reaches its internal addresses."""

    app: ASGIApp
    leads: Callable[[str], int | None]
    asks: list[Ask] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].lower().lstrip("/").startswith("internal"):
            await self.app(scope, receive, send)
            return

        async def note(message: Message) -> None:
            if message["type"] == "http.response.start":
                said, status = dict(message["headers"]), message["status"]
                named = said.get(b"x-upstream", b"").rpartition(b":")[2]
                # A websocket goes by way of the relay, which knows where its ticket leads.
                leads = self.leads(said.get(b"x-spawner-ticket", b"").decode())
                upstream = leads or (int(named) if named else None)
                self.asks.append(Ask(scope["path"], tuple(scope["headers"]), status, upstream))
            await send(message)

        await self.app(scope, receive, note)


@dataclass(frozen=True, slots=True)
class Place:
    """A workspace: whose it is, what opens it, where it listens, and what it was sent."""

    route: str
    slug: str
    cookie: str
    port: int
    host: str
    arrivals: Sequence[Arrival]


def judge(cases: Mapping[int, Case], places: Sequence[Place], asks: Sequence[Ask], secrets: Sequence[str]) -> list[str]:
    """Every broken promise, each with the case that broke it."""
    found = [f"{complaint}: {ask}" for ask in asks for complaint in _of_ask(ask)]
    let = [ask for ask in asks if ask.upstream is not None]
    for place in places:
        for arrival in place.arrivals:
            number = case_of(arrival.target, arrival.get(b"x-case"))
            case = cases.get(number) if number is not None else None
            complaints = _of_head(arrival) + _of_identity(place, arrival) + _of_secrets(arrival, secrets)
            if case is None:
                complaints.append("nobody sent this")
            elif place.cookie.encode() not in case.sent:
                complaints.append("not authorised")
            word = next((ask for ask in let if _lets(ask, place, arrival)), None)
            if word is None:
                complaints.append("not let through, or twice, or to another path")
            else:
                let.remove(word)
            found += [f"{complaint}: {place.route} got {arrival.head!r} for {case}" for complaint in complaints]
    return found


def _lets(ask: Ask, place: Place, arrival: Arrival) -> bool:
    """Whether this answer of the gateway explains this arrival; the path may have lost the prefix and nothing else."""
    judged, target = (unquote_to_bytes(uri) for uri in (ask.get(b"x-forwarded-uri")[0], arrival.target))
    return ask.upstream == place.port and target in (judged, judged.removeprefix(f"/{place.route}".encode()))


def _of_ask(ask: Ask) -> list[str]:
    """Only the proxy asks: no client can add a Via after its own, nor have what names the request twice."""
    complaints = []
    if ask.path != "/internal/gateway" or not _VIA.search(b",".join(ask.get(b"via"))):
        complaints.append("the API was asked by somebody else")
    for name in (b"x-forwarded-method", b"x-forwarded-uri", b"x-forwarded-host", b"x-forwarded-for"):
        if len(ask.get(name)) != 1 or FORGED.encode() in ask.get(name)[0]:
            complaints.append(f"{name.decode()} is not the proxy's")
    return complaints


def _of_head(arrival: Arrival) -> list[str]:
    """Whether every reader reads the same request."""
    complaints = []
    lines = arrival.head[:-4].split(b"\r\n")
    if not _REQUEST.fullmatch(lines[0]) or not all(_LINE.fullmatch(line) for line in lines[1:]):
        complaints.append("a head that can be read in two ways")
    counts = Counter(name for name, _ in arrival.headers)
    lengths = counts[b"content-length"] + counts[b"transfer-encoding"]
    if counts[b"host"] != 1 or lengths > 1 or counts[b"cookie"] > 1:
        complaints.append("several hosts, lengths or cookies")
    if arrival.get(b"transfer-encoding") not in ([], [b"chunked"]):
        complaints.append("an odd transfer encoding")
    if any(not value.isdigit() for value in arrival.get(b"content-length")):
        complaints.append("an odd length")
    if arrival.get(b"upgrade") not in ([], [b"websocket"]) or arrival.get(b"connection") not in _CONNECTION:
        complaints.append("an upgrade")
    return complaints


def _of_identity(place: Place, arrival: Arrival) -> list[str]:
    """Whether who is there, and where from, is told by the proxy alone."""
    complaints = []
    if arrival.get(b"x-spawner-user") != [place.slug.encode()]:
        complaints.append("not the owner's name")
    plain = [(re.sub(rb"[^a-z]", b"-", name), value) for name, value in arrival.headers]
    names = Counter(name for name, _ in plain)
    known = {b"x-spawner-user", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-prefix"}
    ours = (b"spawner", b"forwarded", b"upstream", b"strip-prefix", b"real-ip", b"client-ip")
    for name, value in plain:
        if any(word in name for word in ours) and (name not in known or names[name] > 1 or FORGED.encode() in value):
            complaints.append(f"{name.decode()} is forged")
    if arrival.get(b"x-forwarded-for") != [b"127.0.0.1"] or arrival.get(b"x-forwarded-proto") != [b"http"]:
        complaints.append("not the client's address")
    if arrival.get(b"x-forwarded-host") != arrival.get(b"host"):
        complaints.append("not the host that was judged")
    if arrival.get(b"host")[:1] and arrival.get(b"host")[0].partition(b":")[0].lower() != place.host.encode():
        complaints.append("another's host")
    return complaints


def _of_secrets(arrival: Arrival, secrets: Sequence[str]) -> list[str]:
    """Whether anything of the platform's went along. A body is the client's own, whatever it holds."""
    complaints = [f"a credential: {secret[:8]}…" for secret in secrets if secret.encode() in arrival.head]
    if arrival.get(b"proxy-authorization"):
        complaints.append("a header for the proxy")
    if any(
        re.match(rb"(__\w+-)?spawner", pair.strip(), re.I) for c in arrival.get(b"cookie") for pair in c.split(b";")
    ):
        complaints.append("a cookie of our name")
    return complaints
