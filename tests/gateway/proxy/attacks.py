"""Requests that no browser sends, as bytes: each is put together from families by a seeded die."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

FORGED = "forged"


@dataclass(frozen=True, slots=True)
class Name:
    """How one workspace is named at the edge: its Host, the beginning of its paths (empty in host mode), its cookie."""

    route: str
    host: str
    base: str
    opens: str


@dataclass(frozen=True, slots=True)
class Case:
    """One connection's worth of bytes, and what went into it."""

    number: int
    plan: str
    sent: bytes


# {own} and {other} are bases or hosts of two workspaces, {id} is the case's number.
PATHS = [
    "{own}/?id={id}",
    "{own}/a/b%20c?id={id}",
    "{own}/../{bare}/?id={id}",
    "{own}/%2e%2e/{bare}/x?id={id}",
    "{own}/%2E%2e%2f{bare}/?id={id}",
    "{own}%2f..%2f{bare}/?id={id}",
    "{own}/..%5c{bare}/?id={id}",
    "{own}\\..\\{bare}\\?id={id}",
    "{own}/\\{bare}/?id={id}",
    "\\{bare}/?id={id}",
    "/{own}/?id={id}",
    "//{bare}//?id={id}",
    "/x/../{bare}/?id={id}",
    "/./{bare}/?id={id}",
    "/%2e/{bare}/?id={id}",
    "{own}/\x00?id={id}",
    "{own}\x00/?id={id}",
    "{own}%00/?id={id}",
    "{own}/%00/../{bare}?id={id}",
    "{own}/%c0%ae%c0%ae/{bare}/?id={id}",
    "/%c0%af{bare}/?id={id}",
    "{own}/%e0%80%ae%e0%80%ae%e0%80%af{bare}?id={id}",
    "{own}/\xc0\xae\xc0\xae/{bare}/?id={id}",
    "{own};/..;/{bare}/?id={id}",
    "{own}evil/?id={id}",
    "{own}./?id={id}",
    "{own}-/?id={id}",
    "{own}%20/?id={id}",
    "{own} /?id={id}",
    "{own}/?id={id}#/../{bare}/",
    "{own}#/?id={id}",
    "{own}?id={id}&/../{bare}/",
    "{own}/%252e%252e/{bare}/?id={id}",
    "{own}/%u002e%u002e/{bare}?id={id}",
    "{own}/%zz?id={id}",
    "{own}/{{env.HOME}}{{vars.spawner_cookie}}?id={id}",
    "{upper}/?id={id}",
    "{own}/.spawner/enter?id={id}&code=x",
    "http://{own_host}{own}/?id={id}",
    "http://{other_host}{own}/?id={id}",
    "http://{other_host}/{bare}/?id={id}",
    "http://x:y@{own_host}{own}/?id={id}",
    "HTTP://{own_host}/../{bare}/?id={id}",
    "ftp://{own_host}{own}/?id={id}",
    "{own_host}{own}/?id={id}",
    "*",
    "",
    "@{other_host}{own}/?id={id}",
    "/internal/gateway?id={id}",
    "/internal/tls?domain={own_host}&id={id}",
    "/internal%2fgateway?id={id}",
    "/%69nternal/gateway?id={id}",
    "//internal//gateway?id={id}",
    "/x/../internal/gateway?id={id}",
    "/./internal/./gateway?id={id}",
    "/internal\\gateway?id={id}",
    "/INTERNAL/gateway?id={id}",
    "/internal/gateway/?id={id}",
    "/internal;/gateway?id={id}",
    "http://{own_host}/internal/gateway?id={id}",
    "{own}/../internal/gateway?id={id}",
    "{own}/internal/gateway?id={id}",
]
HOSTS = [
    ["Host: {own}"],
    ["Host: {other}"],
    ["Host: {public}"],
    ["Host: {public}", "Host: {own}"],
    ["Host: {own}", "Host: {other}"],
    ["Host: {own}", " Host: {other}"],
    ["Host: {own}, {other}"],
    ["Host: {name}"],
    ["Host: {name}.:{port}"],
    ["Host: {name}:80"],
    ["Host: {name}:{port}0"],
    ["Host: {name}:"],
    ["Host: {upper}"],
    ["Host: x@{own}"],
    ["Host: {own}@{other}"],
    ["Host: {own}/../{other}"],
    ["Host: {own}#"],
    ["Host: {own}\x00"],
    ["Host:\t{own}\t"],
    ["Host : {own}"],
    ["host:{own}"],
    ["Host: evil.{own}"],
    ["Host: {own}.evil"],
    ["Host: [::1]:{port}"],
    ["Host: "],
    [],
]
# `{f}` is what must reach nobody as an identity.
IDENTITY = [
    "{n}: {f}",
    "{n}:{f}",
    "{n} : {f}",
    "{n}\t: {f}",
    " {n}: {f}",
    "{n}:\r\n {f}",
    "X-Own: a\r\n\t{n}: {f}",
    "X-Own: a\n{n}: {f}",
    "X-Own: a\r{n}: {f}",
    "{n}: a, {f}",
    "{n}\x00: {f}",
    "{n}\xad: {f}",
]
NAMES = ["X-Spawner-User", "X_Spawner_User", "x-spawner_user", "X_Spawner-User", "X.Spawner.User", "X-SPAWNER-USER"]
NAMES += ["X-Spawner-Cookie", "X-Upstream", "X_Upstream", "X-Strip-Prefix", "X-Base-Path", "X-Real-IP", "X_Real_IP"]
NAMES += ["X-Forwarded-For", "X_Forwarded_For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix"]
NAMES += ["X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Upgrade", "X-Forwarded-User", "X-Forwarded-Port"]
NAMES += ["Forwarded", "X-Forwarded", "X-Original-Forwarded-For", "True-Client-IP", "HTTP_X_SPAWNER_USER"]
LISTS = ["X-Spawner-User", "x-spawner-user, X-Forwarded-For", "Cookie", "Authorization", "Host", "X-Forwarded-Uri"]
LISTS += ["X-Forwarded-Host, X-Forwarded-Method", "close, Cookie, Authorization, X-Spawner-User", "keep-alive, Via"]
LISTS += ["Upgrade", "Content-Length", "Transfer-Encoding", "TE, Trailer", "\x0bCookie", "Cookie ;", ",,,Cookie"]
COOKIES = [
    ["Cookie: {c}"],
    ["Cookie: own=1; {c}; two=2"],
    ["Cookie: own=1", "Cookie: {c}"],
    ["cookie:{c}", "COOKIE: own=1"],
    ["Cookie: spawner_workspace=planted; {c}; spawner_workspace="],
    ["Cookie:\t{c}\t;;; ;own=1"],
    ["Cookie: {c}", "Connection: Cookie"],
    ["Cookie : {c}"],
    [" Cookie: {c}"],
    ["Cookie: " + "spawner_workspace=x; " * 50 + "{c}"],
    ["Cookie: __Host-{c}; __Secure-{c}; \xa0{c}; SPAWNER_x=1; {c}"],
]
BEARER = ["Authorization: Bearer {t}", "authorization:bearer {t}", "Authorization : Bearer {t}"]
BEARER += ["AUTHORIZATION: Bearer {t}\r\nAuthorization: Basic {t}", "Proxy-Authorization: Bearer {t}"]
BEARER += ["Authorization:\r\n Bearer {t}", "Authorization\t: Bearer {t}"]
UPGRADES = [
    ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"],
    ["Connection: Upgrade", "Upgrade: websocket", "Upgrade: h2c"],
    [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==",
    ],
    ["Connection: Upgrade", "Upgrade: TLS/1.2, HTTP/1.1"],
    ["Connection: upgrade", "Upgrade: WebSocket, h2c"],
]
TRANSFER = [
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding:  chunked ",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity, chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
    "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding:\tchunked",
    "Transfer-Encoding\r\n : chunked",
    "Transfer-Encoding:\r\n chunked",
    "Transfer-Encoding: \x0bchunked",
    'Transfer-Encoding: "chunked"',
    "TRANSFER-ENCODING: CHUNKED",
    "Transfer_Encoding: chunked",
    "X: x\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\x00",
    "Transfer-Encoding: gzip, chunked",
]
LENGTHS = ["{n}", "0\r\nContent-Length: {n}", "{n}\r\nContent-Length: 0", "{n}\r\nContent-Length: {n}", "0, {n}"]
LENGTHS += ["+{n}", "-1", "0x10", "{n} ", " {n}", "0{n}", "{n}\x0b", "4", "0", "99999999999999999999", "1e1"]
CHUNKS = [
    "0\r\n\r\n{hidden}",
    "5\r\nhello\r\n0\r\n\r\n{hidden}",
    "5;a=b\r\nhello\r\n0;x\r\n\r\n{hidden}",
    "5;\nhello\r\n0\r\n\r\n{hidden}",
    "5\nhello\n0\n\n{hidden}",
    "5 \r\nhello\r\n0\r\n\r\n{hidden}",
    "0x5\r\nhello\r\n0\r\n\r\n{hidden}",
    "0000000000000000000005\r\nhello\r\n0\r\n\r\n{hidden}",
    "5\r\nhello0\r\n\r\n{hidden}",
    "{size}\r\n{hidden}\r\n0\r\n\r\n",
    "0\r\nX-Spawner-User: forged\r\nCookie: spawner_workspace=forged\r\n\r\n{hidden}",
    "0\r\n{hidden}",
    "-1\r\n\r\n{hidden}",
    "ffffffffffffffff\r\n{hidden}",
    "5\r\rhello\r\n0\r\n\r\n{hidden}",
    "2\r\nab\r\n0\n\r\n{hidden}",
]
METHODS = ["POST", "PUT", "OPTIONS", "HEAD", "TRACE", "CONNECT", "get", "GET\t", "X" * 300, "PRI", "DELETE", "G\xc4T"]
VERSIONS = [
    "HTTP/1.0",
    "HTTP/0.9",
    "HTTP/1.2",
    "HTTP/2.0",
    "HTTP/3",
    "http/1.1",
    "HTTP/1.1 ",
    "HTTP/01.1",
    "",
    "HTTP/1.1\x00",
]


@dataclass(frozen=True, slots=True)
class Plan:
    """What one request is made of; as it stands, the owner's plain request for a page."""

    path: str = PATHS[0]
    hosts: Sequence[str] = ("Host: {own}",)
    cookies: Sequence[str] = ("Cookie: {c}",)
    lines: Sequence[str] = ()
    method: str = "GET"
    version: str = "HTTP/1.1"
    lengths: Sequence[str] = ()
    body: str = ""
    end: str = "\r\n"
    before: str = ""


def fixed() -> list[Plan]:
    """Each trick once, on a request that is in order otherwise."""
    plans = [Plan(path=path) for path in PATHS] + [Plan(hosts=hosts) for hosts in HOSTS]
    plans += [Plan(path=path, hosts=["Host: {public}"]) for path in PATHS if "nternal" in path]
    plans += [Plan(cookies=cookies) for cookies in COOKIES] + [Plan(method=method) for method in METHODS]
    plans += [Plan(version=version) for version in VERSIONS]
    plans += [Plan(lines=[f"Connection: {names}"]) for names in LISTS] + [Plan(lines=lines) for lines in UPGRADES]
    plans += [Plan(lines=[bearer]) for bearer in BEARER]
    plans += [Plan(lines=[form.format(n=NAMES[0], f=FORGED)]) for form in IDENTITY]
    plans += [Plan(lines=[IDENTITY[0].format(n=name, f=FORGED)]) for name in NAMES]
    for transfer in TRANSFER:
        for body in (CHUNKS[1], CHUNKS[9]):
            plans.append(Plan(method="POST", lengths=[transfer], body=body))
            plans.append(Plan(method="POST", lengths=["Content-Length: {n}", transfer], body=body))
            plans.append(Plan(method="POST", lengths=[transfer, "Content-Length: 4"], body=body))
    plans += [Plan(method="POST", lengths=[TRANSFER[0]], body=body) for body in CHUNKS]
    plans += [Plan(method="POST", lengths=[f"Content-Length: {length}"], body="{hidden}") for length in LENGTHS]
    return [*plans, Plan(end="\n"), Plan(end="\r"), Plan(before="\r\n"), Plan(before=" "), Plan(body="{hidden}")]


def thrown(dice: Random) -> Plan:
    """Several tricks at once."""
    lines: list[str] = []
    if dice.random() < 0.3:
        lines.append(dice.choice(BEARER[:2] * 9 + BEARER))
    for _ in range(dice.choice([0, 0, 0, 1, 3])):
        lines.append(dice.choice(IDENTITY[:2] * 20 + IDENTITY).format(n=dice.choice(NAMES), f=FORGED))
    if dice.random() < 0.2:
        lines.append(f"Connection: {dice.choice(LISTS)}")
    if dice.random() < 0.08:
        lines += dice.choice(UPGRADES)
    if dice.random() < 0.02:
        lines += dice.choice([["X-F: y"] * 1000, ["X-F: " + "y" * 80_000], ["Cookie: a=b"] * 2000])
    method, lengths, body = dice.choice(["GET"] * 40 + METHODS), [], ""
    if dice.random() < 0.3:
        method = method if method != "GET" or dice.random() < 0.2 else "POST"
        if dice.random() < 0.7:
            lengths.append(dice.choice(TRANSFER[:1] * 9 + TRANSFER))
        if dice.random() < 0.5:
            name = dice.choice(["Content-Length"] * 9 + ["content-length", "Content-Length ", "Content_Length"])
            lengths.append(f"{name}: {dice.choice(LENGTHS[:1] * 9 + LENGTHS)}")
        body = dice.choice([*CHUNKS, "{hidden}"])
    dice.shuffle(lines)
    dice.shuffle(lengths)
    return Plan(
        path=dice.choice(PATHS) if dice.random() < 0.5 else PATHS[0],
        hosts=dice.choice(HOSTS) if dice.random() < 0.2 else HOSTS[0],
        cookies=dice.choice(COOKIES[:1] * 19 + COOKIES) if dice.random() < 0.85 else [],
        lines=lines,
        method=method,
        version=dice.choice(["HTTP/1.1"] * 100 + VERSIONS),
        lengths=lengths,
        body=body,
        end=dice.choice(["\r\n"] * 60 + ["\n", "\r"]),
        before=dice.choice([""] * 60 + ["\r\n", "\n\n", " "]),
    )


@dataclass(frozen=True, slots=True)
class Attacker:
    """Somebody with some cookies and tokens, at an edge that these names stand for."""

    names: Sequence[Name]
    public: str
    port: int
    cookies: Sequence[Sequence[str]]
    tokens: Sequence[str]

    def case(self, number: int, plan: Plan, dice: Random) -> Case:
        """Make a plan's bytes, for two workspaces that the die chooses."""
        own, other = dice.choices(self.names, k=2)
        values = {"own": own.host, "other": other.host, "public": self.public, "port": self.port}
        name = own.host.partition(":")[0]
        hosts = [form.format(name=name, upper=own.host.upper(), **values) for form in plan.hosts]
        cookie = own.opens if dice.random() < 0.7 else "; ".join(dice.choice(self.cookies))
        lines = [line.format(c=cookie) for line in plan.cookies]
        lines += [line.replace("{t}", dice.choice(self.tokens)) for line in plan.lines]
        if any(line.startswith("Upgrade") for line in lines):
            lines.append(f"Origin: http://{own.host}")
        else:
            lines.append("Connection: close")
        hidden = self._hidden(number, dice, own, other)
        body = plan.body.format(hidden=hidden, size=f"{len(hidden):x}")
        lines += [line.format(n=len(body)) for line in plan.lengths]
        target = plan.path.format(
            own=own.base,
            upper=own.base.upper(),
            bare=other.route,
            own_host=own.host,
            other_host=other.host,
            id=number,
        )
        first = f"{plan.method} {target} {plan.version}".rstrip(" ")
        head = plan.end.join([first, *hosts, *lines, f"X-Case: {number}", "", ""])
        return Case(number, str(plan)[:600], (plan.before + head + body).encode("latin-1"))

    def _hidden(self, number: int, dice: Random, own: Name, other: Name) -> str:
        """A request for a body to hide, for whoever reads that as shorter than it is."""
        to = dice.choice([f"{own.base}/", f"{other.base}/", "/internal/gateway"])
        lines = [f"GET {to}?id={number}&hidden=1 HTTP/1.1", f"Host: {dice.choice([own, other]).host}"]
        lines += [f"X-Case: {number}", f"X-Spawner-User: {FORGED}", f"X-Forwarded-Uri: {other.base}/"]
        return "\r\n".join([*lines, "Connection: close", "", ""])
