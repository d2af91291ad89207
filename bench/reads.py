"""What clients ask again and again, straight at the API process, against bare uvicorn with a constant answer."""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from app.resources import open_resources
from bench.accounts import sign_in_many
from bench.bare import bare_uvicorn
from bench.client import Client
from bench.launcher import Launcher, require
from bench.load import Order, get, in_turns
from bench.table import Row, figure, share_of_floor
from tests.support.stack import RunningStack

SECONDS = 0.7
ROUNDS = 3
CONNECTIONS = 8


async def reads(stack: RunningStack) -> AsyncIterator[Row]:
    """Each read in turns with its floor."""
    host = urlsplit(stack.public_url).netloc
    async with (
        open_resources(stack.load_settings()) as resources,
        Client(stack.public_url) as client,
        bare_uvicorn("constant") as bare,
    ):
        launcher = Launcher(client, await sign_in_many(resources, "reads", 1))
        (launch,) = require([await launcher.run()])
        path, headers = launch.posted.json()["status_url"], launch.account.headers
        tag = (await client.ask("GET", path, headers)).headers["etag"]
        cases = {
            "GET /api/jobs/{id}": (0.25, 200, get(path, headers, host)),
            "GET /api/jobs/{id}, unchanged": (0.35, 304, get(path, {**headers, "If-None-Match": tag}, host)),
            "GET /api/container/status": (0.25, 200, get("/api/container/status", headers, host)),
            "GET /api/user/containers": (0.15, 200, get("/api/user/containers", headers, host)),
        }
        port = int(stack.settings["SPAWNER_API_UPSTREAM"].rpartition(":")[2])
        for what, (share, status, head) in cases.items():
            floor = Order(bare, (get("/", {}, host),), CONNECTIONS, SECONDS)
            ours, floors = await in_turns(Order(port, (head,), CONNECTIONS, SECONDS), floor, ROUNDS)
            rate = ours.require(status, what).rate
            yield share_of_floor(what, rate, floors.require(200, "bare uvicorn").rate, share)
            yield figure(f"the same, p50 at {CONNECTIONS} connections", ours.percentile(50), "ms")
        await launcher.clean()
