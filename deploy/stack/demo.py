"""`make demo`: the main job of Spawner in a terminal, against the running stack, by the public API alone."""

import secrets
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from deploy.stack import web
from deploy.stack.console import StepFailed, step, wait_until
from deploy.stack.inbox import Mail, read_mails
from deploy.stack.layout import Layout
from deploy.stack.up import running_settings

TEMPLATE = "hello"
MAIL_SECONDS = 30
LAUNCH_SECONDS = 300
_ENDED = ("succeeded", "failed", "cancelled", "superseded")


def demo(layout: Layout) -> None:
    """Sign up, read the mail, spend its link, launch a workspace, open it. Raises `StepFailed` with a sentence."""
    settings = running_settings(layout)
    if not settings["SPAWNER_SMTP_URL"].startswith("smtp://127.0.0.1:"):
        raise StepFailed("the demo reads the mail sink, and SPAWNER_SMTP_URL names another mail server")
    public = settings["SPAWNER_PUBLIC_URL"]
    address = f"demo-{secrets.token_hex(4)}@example.com"
    with web.client(30) as client:
        try:
            token = _sign_up(client, layout, public, address)
            signed_in = _spend(client, public, token)
            service_url = _launch(client, public, signed_in)
            _open(client, service_url, signed_in["user"]["slug"])
        except httpx.HTTPError as error:
            raise StepFailed(f"{public} did not answer: {error or type(error).__name__}") from None
    print(f"\n  {address} works at {service_url}")
    print(f"  To see it in a browser, sign in at {public} with your own address; make inbox shows the link.\n")


def _sign_up(client: httpx.Client, layout: Layout, public: str, address: str) -> str:
    """Ask for a link and take its token out of the mail that arrives."""
    with step("Sign up") as current:
        _call(client, "POST", f"{public}/api/auth/signup", json={"email": address})
        current.detail = address
    with step("Mail") as current:
        found: list[Mail] = []

        def arrived() -> bool:
            found[:] = [mail for mail in read_mails(layout.maildir) if address in mail.to]
            return bool(found)

        wait_until(
            arrived, MAIL_SECONDS, lambda: StepFailed(f"no mail came within {MAIL_SECONDS} s", layout.log("worker-1"))
        )
        token = find_token(found[0].links)
        if token is None:
            raise StepFailed(f"the mail has no sign-in link: {found[0].subject!r}, {found[0].links}")
        current.detail = f"“{found[0].subject}”"
    return token


def find_token(links: tuple[str, ...]) -> str | None:
    """Take the token out of the first link that has one in its fragment."""
    for link in links:
        if tokens := parse_qs(urlsplit(link).fragment).get("token"):
            return tokens[0]
    return None


def _spend(client: httpx.Client, public: str, token: str) -> dict[str, Any]:
    with step("Link") as current:
        body = _call(client, "POST", f"{public}/api/auth/verify", json={"token": token})
        current.detail = f"signed in as {body['user']['slug']}"
    return body


def _launch(client: httpx.Client, public: str, signed_in: Mapping[str, Any]) -> str:
    """Launch the template, follow its job with a progress bar, and return the workspace's address."""
    bearer = {"Authorization": f"Bearer {signed_in['access_token']}"}
    with step("Launch") as current:
        answer = _call(client, "POST", f"{public}/api/container/launch/{TEMPLATE}", headers=bearer)
        status_url = answer["status_url"]
        current.detail = f"{TEMPLATE}: {answer['status']}"
    if status_url:
        with step("Job"):
            job = _follow(client, httpx.URL(public).join(status_url), bearer)
            if job["state"] != "succeeded":
                raise StepFailed(
                    f"the job ended {job['state']}: {(job.get('error') or {}).get('message', 'no reason given')}"
                )
    return str(answer["service_url"])


def _follow(client: httpx.Client, url: httpx.URL, bearer: Mapping[str, str]) -> dict[str, Any]:
    """Long-poll a job until it ends, printing each entry of its timeline once."""
    console = Console(highlight=False)
    columns = (TextColumn("  [dim]…[/] {task.description:<12}"), BarColumn(40), TimeElapsedColumn())
    deadline, shown = time.monotonic() + LAUNCH_SECONDS, 0
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("queued", total=100)
        while True:
            job = _call(client, "GET", url.copy_merge_params({"wait": "20"} if shown else {}), headers=bearer)
            for entry in job["timeline"][shown:]:
                console.print(
                    f"    {entry['at']}  {entry['step']:<10} {entry.get('detail') or ''}".rstrip(), markup=False
                )
            shown = len(job["timeline"])
            progress.update(bar, description=job["step"], completed=job["progress"])
            if job["state"] in _ENDED:
                return job
            if time.monotonic() > deadline:
                raise StepFailed(f"the job did not end within {LAUNCH_SECONDS} s; it is {job['state']}")


def _open(client: httpx.Client, service_url: str, slug: str) -> None:
    """Open the workspace's page as a browser does: over the sign-in at its own origin, cookies in hand."""
    with step("Open") as current:
        answer = client.get(
            service_url, headers={"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}, follow_redirects=True
        )
        if answer.status_code != 200:
            raise StepFailed(f"{answer.url} answered {answer.status_code}: {answer.text[:200]}")
        if slug not in answer.text:
            raise StepFailed(f"{answer.url} answered a page that does not name {slug}")
        current.detail = f"{len(answer.history)} redirects, {len(answer.content)} bytes, names {slug}"


def _call(client: httpx.Client, method: str, url: str | httpx.URL, **options: Any) -> dict[str, Any]:
    """Call the API; raise `StepFailed` with the API's own words if it refuses."""
    answer = client.request(method, url, **options)
    try:
        body = answer.json()
    except ValueError:
        body = {}
    if answer.is_error or not isinstance(body, dict):
        said = body.get("detail") if isinstance(body, dict) else None
        raise StepFailed(f"{method} {url} answered {answer.status_code}: {said or answer.text[:200]}")
    return body
