"""Decides every request to a workspace's origin, for the reverse proxy.

A workspace cookie grants one workspace while its session is live and its account may enter. A personal token grants its
owner's workspaces. Nothing else is looked up by route, so unknown and foreign workspaces are indistinguishable.
"""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import parse_qs, urlencode, urlsplit

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.principal import touch_token
from app.catalog.placeholders import fill
from app.catalog.templates import Template
from app.core import addresses
from app.core.addresses import Alias, Route, address_of, base_path, parse, placeholders, route_of
from app.core.errors import AppError, Forbidden, InvalidRequest, MethodNotAllowed, NotFound, Unauthorized
from app.core.settings.model import Settings
from app.gateway import cookies, origin_handoff, wake
from app.gateway.authorization import Grant, find_grant, find_token_grant
from app.gateway.credentials import PresentedCredentials, read_credentials
from app.gateway.errors import (
    FAILURES,
    CookiesTooLarge,
    InvalidHandoff,
    NotEntered,
    OpenInTab,
    SentFromElsewhere,
    SharedNotRunning,
    TokenRefused,
    WorkspaceNotRunning,
    WorkspaceUnreachable,
)
from app.gateway.last_activity import Activity
from app.gateway.origins import SAFE_METHODS, check_page, check_program, crosses_sites
from app.gateway.proxied_request import ProxiedRequest
from app.gateway.token_entries import TokenEntries
from app.gateway.websocket_relay import Relay
from app.http.cookies import Cookie
from app.http.errors import HeadersTooLarge
from app.http.middleware import MAX_HEAD
from app.models import User, Workspace, WorkspaceStatus, utcnow
from app.resources import Resources
from app.security import tokens
from app.security.tokens import new_token
from app.workspaces.jobs.subscriptions import JobSubscriptions
from app.workspaces.states import RELEASED

# Time to sign in: to read a mail and return.
ENTRY_SECONDS = 900
# Maximum number of an account's containers per tier. The proxy limits a container's requests in flight by tier; the
# last one has no name here.
TIERS = ((1, ""), (4, "few"))
LAST_TIER = "many"
# Maximum reads of a row that keeps changing, per request.
LOOKS = 3
MOVING = (
    WorkspaceStatus.QUEUED,
    WorkspaceStatus.PULLING,
    WorkspaceStatus.CREATING,
    WorkspaceStatus.STARTING,
    WorkspaceStatus.PROBING,
    WorkspaceStatus.STOPPING,
    WorkspaceStatus.DELETING,
)


@dataclass(frozen=True, slots=True)
class Allow:
    """Forward to `upstream` as `user`: strip `prefix` from the path, replace `cookie` and `authorization`, and add the
    template's `headers`.

    `base` is the path for the workspace's own cookies; empty if it has a host of its own. A `ticket` makes this
    process's relay the upstream, which requires it. `clean_query` removes our token from the query. `tier` limits the
    owner's requests in flight.
    """

    upstream: str
    prefix: str
    base: str
    user: str
    cookie: str
    authorization: str
    headers: tuple[tuple[str, str], ...] = ()
    clean_query: bool = False
    ticket: str = ""
    tier: str = ""


@dataclass(frozen=True, slots=True)
class Redirect:
    """Redirect, optionally with a cookie."""

    location: str
    status: int
    cookie: Cookie | None = None


@dataclass(frozen=True, slots=True)
class ErrorPage:
    """Show a page with the reason and the next step.

    `status` is the workspace's state, `cookies` are Set-Cookie values; `framed` means that the page is in a frame.
    """

    error: AppError
    route: Route
    status: WorkspaceStatus | None = None
    cookies: tuple[str, ...] = ()
    framed: bool = False


Answer = Allow | Redirect | ErrorPage


@dataclass(frozen=True, slots=True)
class GatewayContext:
    """What a process needs for decisions."""

    resources: Resources
    watch: JobSubscriptions
    activity: Activity
    relay: Relay
    token_entries: TokenEntries


async def answer(context: GatewayContext, proxied: ProxiedRequest) -> Answer:
    """Decide one request. Waits for a paused workspace to resume, without an open session.

    Raises `NotFound`, `Unauthorized`, `Forbidden`, `InsufficientScope`, `InvalidRequest`, `MethodNotAllowed`,
    `Unavailable`, the gateway's own errors and those of a launch. For page navigations to a workspace these become an
    `ErrorPage`.
    """
    resources = context.resources
    settings = resources.settings
    route = parse(settings, proxied.host, proxied.uri)
    if route is None:
        return _outside(settings, proxied)
    if isinstance(route, Alias):
        return Redirect(address_of(settings, route_of(route.slug, resources.catalog.default.key), route.rest), 307)
    if not route.rest.startswith("/"):
        if proxied.method not in ("GET", "HEAD"):
            raise NotFound
        return Redirect(address_of(settings, route.name, route.rest), 308)
    if proxied.size > MAX_HEAD:
        return _too_large(settings, proxied, route)
    if route.rest.partition("?")[0] == origin_handoff.ENTER_PATH:
        return await _enter(resources, proxied, route)
    shown = read_credentials(resources.tokens, proxied)
    if shown.token is not None:
        # Programs must not get sign-in redirects, pages, or a workspace start.
        proxied = replace(proxied, page=False)
    try:
        return await _decide(context, proxied, route, shown)
    except AppError as error:
        return _refuse(proxied, route, error)


async def _decide(
    context: GatewayContext, proxied: ProxiedRequest, route: Route, shown: PresentedCredentials
) -> Answer:
    """Decide a request for a path of a workspace."""
    resources, template = context.resources, context.resources.catalog.get(route.template)
    if shown.token is None:
        check_page(resources.settings, proxied, route, template)
    else:
        check_program(proxied)
    until = asyncio.get_running_loop().time() + wake.WAKE_SECONDS
    grant = await _find_grant(resources, proxied, route, shown)
    for _ in range(LOOKS):
        if grant is None or not await wake_if_needed(context, proxied, grant, until):
            break
        grant = await _find_grant(resources, proxied, route, shown)
    if grant is None:
        return _sign_in(resources.settings, proxied, route)
    answer = _admit(context, proxied, route, grant, shown, template)
    if shown.token is not None:
        await context.token_entries.record(resources, grant)
    return answer


async def serves(session: AsyncSession, resources: Resources, host: str) -> bool:
    """Return whether a certificate may be issued for this host: the public one, the workspaces', or a
    workspace's own.
    """
    settings, host = resources.settings, host.lower()
    if host == urlsplit(settings.public_url).hostname:
        return True
    if not settings.host_mode:
        return host == urlsplit(settings.workspace_url).hostname
    route = parse(settings, host, "/")
    if route is None:
        return False
    template = route.template if isinstance(route, Route) else resources.catalog.default.key
    query = select(Workspace.id).join(User).where(User.slug == route.slug, Workspace.template == template)
    return await session.scalar(query) is not None


def _outside(settings: Settings, proxied: ProxiedRequest) -> Answer:
    """Answer a request outside any workspace: redirects the bare origin to the home page."""
    if proxied.navigates and proxied.uri == "/":
        return Redirect(f"{settings.public_url}/", 302)
    raise NotFound


async def _find_grant(
    resources: Resources, proxied: ProxiedRequest, route: Route, shown: PresentedCredentials
) -> Grant | None:
    if shown.token is None:
        return await find_grant(
            resources, cookies.values(proxied.cookies, cookies.grant_name(resources.settings)), route
        )
    grant, used_at = await find_token_grant(resources, shown.token, route)
    await touch_token(resources, grant.holder_id, used_at)
    return grant


async def wake_if_needed(context: GatewayContext, proxied: ProxiedRequest, grant: Grant, until: float) -> bool:
    """Record the visit, resume a paused workspace, start a stopped one if permitted. Returns True if the row must be
    read again.

    Visitors of a share may resume it, but not start it, which would count against its owner. Raises `Refused`.
    """
    resources, template = context.resources, context.resources.catalog.get(grant.template)
    if template is None or proxied.unreachable or asyncio.get_running_loop().time() >= until:
        return False
    if grant.running:
        return not await context.activity.record_activity(resources, grant.workspace_id, grant.generation, template)
    if grant.waking or grant.asleep:
        job_id = grant.job_id
        if not grant.waking:
            job_id = await wake.launch(resources, grant.owner_id, grant.visitor_id, template.key)
        if job_id is not None:
            await wake.ended(resources, context.watch, job_id, until)
        return True
    failed_now = grant.status is WorkspaceStatus.ERROR and utcnow() - grant.status_at < wake.CALM
    if grant.own and template.start_on_visit and proxied.navigates and grant.status in RELEASED and not failed_now:
        # Counted: its programs can end it, so visits could restart it endlessly.
        await wake.launch(resources, grant.owner_id, grant.visitor_id, template.key, counted=True)
        return True
    return False


def _admit(
    context: GatewayContext,
    proxied: ProxiedRequest,
    route: Route,
    grant: Grant,
    shown: PresentedCredentials,
    template: Template | None,
) -> Answer:
    """Answer a permitted visitor: forwards the request if the workspace runs."""
    if grant.status is not WorkspaceStatus.RUNNING or grant.host is None or grant.port is None:
        error = WorkspaceNotRunning if grant.own or grant.status in MOVING else SharedNotRunning
        seconds = "3" if grant.status in MOVING else "30"
        return _refuse(proxied, route, error(headers={"Retry-After": seconds}), grant.status)
    if proxied.unreachable:
        failure = FAILURES.get(proxied.unreachable, WorkspaceUnreachable)
        return _refuse(proxied, route, failure(headers={"Retry-After": "5"}), grant.status)
    settings = context.resources.settings
    host = f"[{grant.host}]" if ":" in grant.host else grant.host
    # A container may respond before reading a body, and close: the proxy would lose the response, our relay does not.
    relayed = proxied.upgrade or proxied.method not in SAFE_METHODS
    ticket = None
    if relayed:
        ticket = context.relay.issue(
            grant.entry, grant.host, grant.port, upgrade=proxied.upgrade, patience=proxied.patience
        )
    return Allow(
        upstream=ticket.upstream if ticket else f"{host}:{grant.port}",
        prefix=route.prefix if template is not None and template.strip_prefix else "",
        base="" if settings.host_mode else base_path(settings, route.name),
        user=grant.visitor,
        cookie=cookies.without_ours(proxied.cookies),
        authorization=shown.authorization,
        headers=tuple(_headers(settings, proxied, route, template, grant)),
        clean_query=shown.in_query,
        ticket=ticket.ticket if ticket else "",
        tier=next((name for most, name in TIERS if grant.containers <= most), LAST_TIER),
    )


def _headers(
    settings: Settings, proxied: ProxiedRequest, route: Route, template: Template | None, grant: Grant
) -> Iterator[tuple[str, str]]:
    """Yield the template's headers; they replace the client's, and may be empty.

    Raises `InvalidRequest` for a variant spelling that some servers treat as the same name: the proxy replaces exact
    names only.
    """
    added = template.headers if template is not None else {}
    if not added:
        return
    names = {name.lower() for name in added}
    if any(re.sub(r"[^a-z0-9]", "-", name) in names for name in proxied.names - names):
        raise InvalidRequest
    values = placeholders(settings, route.slug, route.template, user=grant.visitor)
    yield from ((name, fill(text, values)) for name, text in added.items())


def _too_large(settings: Settings, proxied: ProxiedRequest, route: Route) -> ErrorPage:
    """Answer a request with too large headers. If cookies are the cause, the browser deletes them."""
    if not proxied.navigates or sum(map(len, proxied.cookies)) < MAX_HEAD // 2:
        return _refuse(proxied, route, HeadersTooLarge())
    return ErrorPage(CookiesTooLarge(), route, cookies=tuple(cookies.expired(settings, route, proxied.cookies)))


def _refuse(proxied: ProxiedRequest, route: Route, error: AppError, status: WorkspaceStatus | None = None) -> ErrorPage:
    """Build the error page. In another site's frame the page only links out."""
    if not proxied.page:
        raise error
    if isinstance(error, Forbidden):
        error = OpenInTab() if proxied.framed else SentFromElsewhere()
    return ErrorPage(error, route, status, framed=proxied.framed)


def _sign_in(settings: Settings, proxied: ProxiedRequest, route: Route) -> Redirect:
    """Redirect a navigation through sign-in at the public origin, and back with a code.

    Not in a frame, as the public origin forbids framing.
    """
    if not proxied.page:
        raise Unauthorized if proxied.browser else TokenRefused
    if proxied.framed:
        raise OpenInTab
    if not proxied.navigates:
        raise NotEntered
    name = cookies.entry_name(settings)
    # Reuses the state of a concurrent tab, so that both can return with it.
    state = next(filter(tokens.is_token, cookies.values(proxied.cookies, name)), None) or new_token()
    query = urlencode({"next": route.rest, "state": state}, encoding="latin-1")
    cookie = cookies.make(settings, route, name, state, seconds=ENTRY_SECONDS)
    return Redirect(f"{settings.public_url}/open/{route.name}?{query}", 302, cookie)


async def _enter(resources: Resources, proxied: ProxiedRequest, route: Route) -> Answer:
    """Exchange a one-use code for the workspace cookie. Only GET redeems it, and only if the proxy does not repeat the
    question: a first answer may be lost.
    """
    if proxied.method != "GET" or proxied.repeatable:
        raise MethodNotAllowed
    settings = resources.settings
    query = parse_qs(route.rest.partition("?")[2])
    code, path = query.get("code", [""])[0], query.get("next", ["/"])[0]
    states = cookies.values(proxied.cookies, cookies.entry_name(settings))
    value = None
    if states and tokens.is_token(code):
        async with resources.unit_of_work() as session:
            value = await origin_handoff.exchange(session, resources, route, code, states)
    if value is None:
        return _refuse(proxied, route, InvalidHandoff())
    anywhere = crosses_sites(settings, resources.catalog.get(route.template))
    cookie = cookies.make(settings, route, cookies.grant_name(settings), value, anywhere=anywhere)
    return Redirect(address_of(settings, route.name, addresses.safe_path(path)), 303, cookie)
