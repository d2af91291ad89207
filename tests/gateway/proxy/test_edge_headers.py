"""The proxy's own answers carry the security headers of the API's, and say nothing of who answers."""

from pathlib import Path

import httpx
import pytest

from app.http.middleware import HEADERS
from tests.support.ports import reserved_port
from tests.support.proxy import Site, caddy

CLOSED = "default-src 'none'; frame-ancestors 'none'"
EXPECTED = {name.lower(): value for name, value in HEADERS.items()}


def check(answer: httpx.Response, status: int, **other: str) -> None:
    assert answer.status_code == status
    assert {name: answer.headers.get(name) for name in EXPECTED} == {**EXPECTED, **other}
    assert not {"server", "via", "x-powered-by", "alt-svc", "strict-transport-security"} & set(answer.headers)
    assert len(answer.headers.get_list("content-security-policy")) == 1


@pytest.mark.parametrize("edge", ["path"], indirect=True)
async def test_what_the_proxy_answers_itself_is_as_closed_as_what_the_api_answers(site: Site, tmp_path: Path) -> None:
    check(await site.public("/sign-in"), 200)
    check(await site.public("/api/user/me"), 401)
    own = {"content-security-policy": CLOSED}
    check(await site.public("/internal/gateway"), 404, **own)
    url = f"http://127.0.0.1:{site.edge.port}/api/auth/login"
    large = {"Host": f"localhost:{site.edge.port}", "Content-Type": "application/json"}
    refused = await site.http.post(url, content=b" " * 2_000_000, headers=large)
    # The API or the proxy, whichever has had enough first.
    check(refused, 413, **{"content-security-policy": refused.headers["content-security-policy"]})
    port = reserved_port()
    async with caddy(tmp_path, port, f"http://127.0.0.1:{port}", reserved_port()):
        for host in ("127.0.0.1", "localhost"):
            for accept in ("text/html", "*/*"):
                headers = {"Host": f"{host}:{port}", "Accept": accept}
                check(await site.http.get(f"http://127.0.0.1:{port}/alice-hello/", headers=headers), 503, **own)
