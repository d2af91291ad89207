"""Pages for signing in and out: form, mailbox, confirmation."""

import math
from dataclasses import replace
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from app.accounts.dependencies import ClientDep, DeviceCookieDep, OptionalUserDep
from app.accounts.device_cookie import DeviceCookie, set_new_device_cookie
from app.accounts.emails import read_mailbox
from app.accounts.errors import InvalidAddress
from app.accounts.session_cookies import clear_session_cookies
from app.accounts.sessions import logout
from app.auth.link_status import Wait, find_destination, find_wait
from app.auth.magic_links import request_link
from app.auth.return_to import HOME, ReturnTo, read_local
from app.core.errors import Unavailable
from app.http.dependencies import LocaleDep, ResourcesDep, SessionDep, check_same_origin
from app.models import LinkPurpose
from app.resources import Resources
from app.security.errors import ClientRateLimited, RateLimited
from app.web.rendering import counted, page, say

PAGE = ["GET", "HEAD"]


async def get_return_to(
    going: Annotated[str, Query(alias="next")] = "/",
    cut: Annotated[bool, Query()] = False,
) -> ReturnTo:
    """Parse the visitor's destination; `cut` means that it was too long and is truncated."""
    to = read_local(going)
    return replace(to, cut=to.cut or cut)


ReturnToDep = Annotated[ReturnTo, Depends(get_return_to)]

router = APIRouter(include_in_schema=False, dependencies=[Depends(check_same_origin)])


@router.api_route("/sign-in", methods=PAGE)
async def form(request: Request, caller: OptionalUserDep, to: ReturnToDep) -> Response:
    """Show the form; redirects if already signed in."""
    if caller is not None:
        return RedirectResponse(to.local, 303)
    return _form(request, to)


@router.post("/sign-in")
async def ask(
    request: Request,
    session: SessionDep,
    resources: ResourcesDep,
    client: ClientDep,
    browser: DeviceCookieDep,
    locale: LocaleDep,
    email: Annotated[str, Form()] = "",
    going: Annotated[str, Form(alias="next")] = "",
    fragment: Annotated[str, Form()] = "",
) -> Response:
    """Request a link, as `POST /api/auth/signup` does: the response is the same for every address."""
    to = read_local(going, fragment)
    kept = to.local if to != HOME else None
    try:
        address = read_mailbox(email)
        await request_link(session, resources, LinkPurpose.SIGNUP, address, locale, client.address, browser, kept)
    except InvalidAddress:
        return _form(request, to, 400, email=email, invalid=say(locale, "invalid_email"))
    except RateLimited:
        return _wait(resources, browser, newest=True, cut=to.cut)
    except ClientRateLimited as error:
        minutes = math.ceil(int(error.headers["Retry-After"]) / 60)
        return _form(
            request, to, 429, error.headers, email=email, alert=counted(locale, "limited_here", minutes=minutes)
        )
    except Unavailable as error:
        return _form(request, to, 503, error.headers, email=email, alert=say(locale, "unavailable"))
    return _wait(resources, browser, cut=to.cut)


def _wait(resources: Resources, browser: DeviceCookie, **notes: bool) -> Response:
    """Redirect to the waiting page, with its notes."""
    query = urlencode({name: "true" for name, is_so in notes.items() if is_so})
    answer = RedirectResponse(f"/check-mail?{query}" if query else "/check-mail", 303)
    set_new_device_cookie(answer, resources.settings, browser)
    return answer


@router.api_route("/check-mail", methods=PAGE)
async def check_mail(
    request: Request, resources: ResourcesDep, browser: DeviceCookieDep, *, cut: bool = False, newest: bool = False
) -> Response:
    """Show the next step, and the field for the mail's code, which a script sends.

    `newest`: no mail was sent, but an earlier link is valid again. Its code works only in the browser that requested
    it.
    """
    settings = resources.settings
    to = read_local(await find_destination(resources, browser))
    minutes = max(1, settings.magic_link_seconds // 60)
    return page(
        request,
        "check_mail.html",
        caller=None,
        minutes=minutes,
        development=settings.environment == "development",
        to=to,
        cut=cut,
        newest=newest,
    )


@router.get("/check-mail/status")
async def follow_wait(resources: ResourcesDep, browser: DeviceCookieDep, caller: OptionalUserDep) -> Wait:
    """Return the status of this browser's last link; the waiting page polls it."""
    return await find_wait(resources, browser, caller)


@router.api_route("/auth/confirm", methods=PAGE)
async def confirm(request: Request) -> Response:
    """Show the confirm button. The link's token is in the fragment, which servers never see; only the button redeems
    it.

    Before that, a script fetches the account, the destination, and whether this browser requested the link.
    """
    return page(request, "confirm.html", caller=None)


@router.post("/sign-out")
async def sign_out(request: Request, session: SessionDep, resources: ResourcesDep, caller: OptionalUserDep) -> Response:
    """End the session here and in every workspace opened with it. Idempotent."""
    if caller is not None:
        await logout(session, caller)
    clear_session_cookies(request, resources.settings)
    return RedirectResponse("/sign-in", 303)


def _form(
    request: Request,
    to: ReturnTo,
    status: int = 200,
    headers: dict[str, str] | None = None,
    *,
    email: str = "",
    invalid: str | None = None,
    alert: str | None = None,
) -> Response:
    settings = request.app.state.settings
    return page(
        request,
        "sign_in.html",
        status=status,
        headers=headers,
        caller=None,
        email=email,
        invalid=invalid,
        alert=alert,
        anyone=settings.signup == "open",
        to=to,
    )
