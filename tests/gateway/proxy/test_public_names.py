"""Names that stand for a workspace, and hosts that get a certificate."""

import httpx

from tests.support.proxy import Site


async def test_short_names_lead_to_canonical_ones(site: Site) -> None:
    answer = await site.ask("alice", "/x?y=1", method="POST")
    assert answer.status_code == 307
    assert answer.headers["location"] == site.origin("alice-hello") + site.path("alice-hello", "/x?y=1")
    if site.edge.mode == "host":
        return
    slashed = await site.raw(f"127.0.0.1:{site.edge.port}", "/alice-hello?y=1")
    assert slashed.startswith(b"HTTP/1.1 308")
    assert f"Location: {site.origin('alice-hello')}/alice-hello/?y=1\r\n".encode() in slashed
    assert (await site.raw(f"127.0.0.1:{site.edge.port}", "/alice-hello", method="POST")).startswith(b"HTTP/1.1 404")
    front = await site.raw(f"127.0.0.1:{site.edge.port}", "/", ["Accept: text/html"])
    assert f"Location: {site.settings.public_url}/\r\n".encode() in front


async def test_certificates_are_asked_for_hosts_that_are_served(site: Site) -> None:
    await site.own()
    await site.own("bob", "jupyter")
    served = {"path": ["127.0.0.1"], "host": ["alice-hello.apps.localhost", "alice.apps.localhost"]}[site.edge.mode]
    others = ["", "evil.org", "nobody-hello.apps.localhost", "bob.apps.localhost", "apps.localhost", "x" * 300]
    transport = httpx.ASGITransport(app=site.gateway)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as gateway:
        for host in ("localhost", *served, *(name.upper() for name in served)):
            assert (await gateway.get("/internal/tls", params={"domain": host})).status_code == 204, host
        for host in others:
            assert (await gateway.get("/internal/tls", params={"domain": host})).status_code in (400, 404), host
