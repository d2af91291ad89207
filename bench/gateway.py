"""The gateway: decisions a second, and requests to a workspace against plain Caddy to the same container."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import select

from app.models import Workspace
from app.resources import Resources, open_resources
from bench.accounts import Account, give_workspace_cookie, sign_in_many
from bench.bare import bare_uvicorn, until_answers
from bench.client import Client
from bench.launcher import Launcher, require
from bench.load import Order, get, in_turns
from bench.table import Row, floor_plus, share_of_floor
from deploy.stack.layout import free_port
from deploy.stack.proxy import find_caddy
from tests.support.stack import RunningStack

SECONDS = 1.0
ROUNDS = 4
CONNECTIONS = 16
PLAIN = """
{{
	admin off
	persist_config off
}}
http://127.0.0.1:{port} {{
	reverse_proxy {upstream}
}}
"""


@dataclass(frozen=True, slots=True)
class Visited:
    """A running workspace, and what a browser sends to it once it has entered."""

    path: str
    host: str
    cookie: str
    upstream: str

    def request(self) -> str:
        """A GET of its page, to the proxy."""
        return get(self.path, {"Cookie": self.cookie}, self.host)

    def question(self) -> str:
        """What the proxy asks the gateway about it."""
        asked = {"X-Forwarded-Method": "GET", "X-Forwarded-Uri": self.path, "X-Forwarded-Host": self.host}
        asked |= {"X-Forwarded-Proto": "http", "X-Forwarded-For": "127.0.0.1", "Cookie": self.cookie}
        return get("/internal/gateway", asked, self.host)


def gateway_port(stack: RunningStack) -> int:
    """Where a gateway process answers; the proxy asks it at a Unix socket."""
    return urlsplit(stack.settings["SPAWNER_GATEWAY_ASK"]).port or 80


async def visit(stack: RunningStack, resources: Resources, account: Account) -> Visited:
    """The account's running workspace of `hello`, entered."""
    async with resources.reads() as session:
        row = (await session.execute(select(Workspace).where(Workspace.user_id == account.user_id))).scalar_one()
    url = urlsplit(stack.settings["SPAWNER_WORKSPACE_URL"].replace("{route}", f"{account.slug}-hello"))
    cookie = await give_workspace_cookie(resources, account, row.id)
    return Visited(f"{url.path}/", url.netloc, cookie, f"{row.host}:{row.port}")


@asynccontextmanager
async def plain_caddy(upstream: str) -> AsyncIterator[int]:
    """Caddy that passes everything on; yields its port."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="spawner-bench-") as home:
        file = Path(home) / "Caddyfile"
        file.write_text(PLAIN.format(port=port, upstream=upstream))
        process = await asyncio.create_subprocess_exec(
            *(str(find_caddy()), "run", "--config", str(file), "--adapter", "caddyfile"),
            env={"XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home, "HOME": home},
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await until_answers(port)
            yield port
        finally:
            process.terminate()
            await process.wait()


async def gateway(stack: RunningStack) -> AsyncIterator[Row]:
    """Both in turns with their floors."""
    async with open_resources(stack.load_settings()) as resources, Client(stack.public_url) as client:
        launcher = Launcher(client, await sign_in_many(resources, "visitor", 1))
        (launch,) = require([await launcher.run()])
        visited = await visit(stack, resources, launch.account)
        yield await _decisions(stack, resources, visited)
        async for row in _proxied(visited):
            yield row
        await launcher.clean()


async def _decisions(stack: RunningStack, resources: Resources, visited: Visited) -> Row:
    digest = resources.tokens.hash("workspace", visited.cookie.partition("=")[2]).hex()
    database = stack.settings["SPAWNER_DATABASE_URL"].replace("+asyncpg", "")
    question = Order(gateway_port(stack), (visited.question(),), CONNECTIONS, SECONDS)
    async with bare_uvicorn("query", BENCH_DATABASE=database) as bare:
        floor = Order(bare, (get("/", {"X-Hash": digest}, visited.host),), CONNECTIONS, SECONDS)
        ours, floors = await in_turns(question, floor, ROUNDS)
    what = "decisions of one gateway process; floor: bare uvicorn with one query of the same join"
    rate, floor_rate = ours.require(200, "the gateway").rate, floors.require(200, "bare uvicorn").rate
    return share_of_floor(what, rate, floor_rate, 0.4)


async def _proxied(visited: Visited) -> AsyncIterator[Row]:
    request = Order(int(visited.host.rpartition(":")[2]), (visited.request(),), CONNECTIONS, SECONDS)
    async with plain_caddy(visited.upstream) as plain:
        # The container gets the path without the workspace's prefix both ways.
        floor = Order(plain, (get("/", {}, visited.host),), CONNECTIONS, SECONDS)
        ours, floors = await in_turns(request, floor, ROUNDS)
    rate, floor_rate = ours.require(200, "the proxy").rate, floors.require(200, "plain Caddy").rate
    what = f"requests to a workspace, {CONNECTIONS} connections; floor: plain Caddy"
    yield share_of_floor(what, rate, floor_rate, 0.95)
    yield floor_plus("the same, p50", ours.percentile(50), floors.percentile(50), 1.5)
