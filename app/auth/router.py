"""/api/auth: request a link, redeem it, sign out."""

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse

from app.accounts.dependencies import ClientDep, DeviceCookieDep, UserDep
from app.accounts.device_cookie import DeviceCookie, mark_trusted, set_device_cookie, set_new_device_cookie
from app.accounts.session_cookies import clear_session_cookies, set_session_cookies
from app.accounts.sessions import logout as end_own_session
from app.auth import service
from app.auth.errors import Blocked, InvalidCode, InvalidLink, NotAcceptable
from app.auth.link_clients import check_program
from app.auth.magic_links import request_link
from app.auth.one_time_codes import verify_code
from app.auth.return_to import view_next
from app.auth.schemas import CodeIn, LinkIn, LinkOut, MessageOut, TokenOut, VerifyIn, view_user
from app.core.errors import Forbidden, InvalidRequest, TooLarge, Unauthorized, Unavailable
from app.core.i18n import Text
from app.http.dependencies import LocaleDep, ResourcesDep, SessionDep, check_sign_in_origin
from app.http.errors import RequestStalled
from app.http.negotiation import navigates
from app.http.problems import problems
from app.models import LinkPurpose
from app.resources import Resources
from app.security.errors import ClientRateLimited, RateLimited

router = APIRouter(prefix="/api/auth", tags=["auth"])

SENT = Text(
    "If this address can sign in here, a link is on its way. Look into your mailbox.",
    "Wenn sich diese Adresse hier anmelden kann, ist ein Link unterwegs. Bitte ins Postfach sehen.",
)
SIGNED_OUT = Text("You are signed out.", "Du bist abgemeldet.")

ASKING = problems(InvalidRequest, Forbidden, RequestStalled, TooLarge, RateLimited, ClientRateLimited, Unavailable)
SPENDING = problems(InvalidRequest, InvalidLink, Forbidden, Blocked, Unavailable)
LOOKING = problems(InvalidRequest, InvalidLink, Forbidden, RequestStalled, TooLarge, Unavailable)
TYPING = problems(InvalidRequest, InvalidCode, Forbidden, Blocked, RequestStalled, TooLarge, Unavailable)
SPENDING_BY_QUERY: dict[int | str, dict[str, Any]] = {
    303: {"description": "A browser's navigation: redirected to the confirm page. The link is not redeemed"},
    **SPENDING,
    **problems(NotAcceptable),
}
# Rejects requests that a browser sends from another site's page.
OURS = [Depends(check_sign_in_origin)]


@router.post(
    "/signup", operation_id="signup", summary="Request a sign-up link by e-mail", responses=ASKING, dependencies=OURS
)
async def signup(
    body: LinkIn,
    response: Response,
    session: SessionDep,
    resources: ResourcesDep,
    client: ClientDep,
    browser: DeviceCookieDep,
    locale: LocaleDep,
) -> MessageOut:
    """Mails a link that confirms the address, or a sign-in link if it has an account.

    The response is the same for every address: it reveals neither whether an account exists nor whether mail arrives.
    Sets a cookie that recognises this browser when the link is opened.
    """
    await request_link(session, resources, LinkPurpose.SIGNUP, body.email, locale, client.address, browser)
    set_new_device_cookie(response, resources.settings, browser)
    return MessageOut(message=SENT.format(locale))


@router.post(
    "/login", operation_id="login", summary="Request a sign-in link by e-mail", responses=ASKING, dependencies=OURS
)
async def login(
    body: LinkIn,
    response: Response,
    session: SessionDep,
    resources: ResourcesDep,
    client: ClientDep,
    browser: DeviceCookieDep,
    locale: LocaleDep,
) -> MessageOut:
    """Mails a sign-in link if the address has an account. The response is the same for every address."""
    await request_link(session, resources, LinkPurpose.LOGIN, body.email, locale, client.address, browser)
    set_new_device_cookie(response, resources.settings, browser)
    return MessageOut(message=SENT.format(locale))


@router.post("/link", operation_id="look_at_link", summary="Preview a magic link", responses=LOOKING, dependencies=OURS)
async def look_at_link(body: VerifyIn, resources: ResourcesDep, browser: DeviceCookieDep, locale: LocaleDep) -> LinkOut:
    """Returns the link's account and destination, for display before the user confirms. Does not redeem the link."""
    seen = await service.preview_link(resources, body.token, browser)
    leads = view_next(resources, seen.slug, seen.destination, locale)
    return LinkOut(recognised=seen.recognised, address=seen.address, next=leads)


@router.post(
    "/verify",
    operation_id="verify",
    summary="Sign in with a magic link",
    responses=SPENDING | problems(RequestStalled, TooLarge),
    dependencies=OURS,
)
async def verify(
    body: VerifyIn,
    request: Request,
    response: Response,
    resources: ResourcesDep,
    client: ClientDep,
    browser: DeviceCookieDep,
    locale: LocaleDep,
) -> TokenOut:
    """Signs in, once per link, and ensures that the default workspace runs. Also sets the pages' cookies.

    If the workspace cannot be launched, sign-in still succeeds and `job` is null.

    The first account ever verified becomes the administrator. The account's other links expire. A blocked account is
    refused and its link stays valid.
    """
    signed_in = await service.verify(resources, body.token, client, locale)
    _set_cookies(request, response, resources, signed_in, browser)
    return _token_body(resources, signed_in)


@router.post(
    "/verify-code",
    operation_id="verify_code",
    summary="Sign in with a one-time code",
    responses=TYPING,
    dependencies=OURS,
)
async def verify_by_code(
    body: CodeIn,
    request: Request,
    response: Response,
    resources: ResourcesDep,
    client: ClientDep,
    browser: DeviceCookieDep,
    locale: LocaleDep,
) -> TokenOut:
    """Signs in like `POST /api/auth/verify`, with the code of the mail, in the browser that requested it.

    Five wrong codes invalidate the codes of all links that the browser has requested; the links stay valid.
    """
    signed_in = await verify_code(resources, body.code, browser, client, locale)
    _set_cookies(request, response, resources, signed_in, browser)
    return _token_body(resources, signed_in)


@router.get(
    "/verify-signup",
    operation_id="verify_signup",
    summary="Confirm a sign-up link (GET)",
    response_model=TokenOut,
    responses=SPENDING_BY_QUERY,
)
@router.get(
    "/verify-login",
    operation_id="verify_login",
    summary="Sign in with a magic link (GET)",
    response_model=TokenOut,
    responses=SPENDING_BY_QUERY,
)
async def verify_by_query(
    request: Request,
    resources: ResourcesDep,
    client: ClientDep,
    locale: LocaleDep,
    token: Annotated[str, Query(min_length=1, max_length=200, description="The token of the link.")],
) -> Response | TokenOut:
    """For programs: signs in like `POST /api/auth/verify`, without a cookie, if `Accept` names `application/json`.

    Other requests do not redeem the link. Browser navigations, and mail scanners that imitate them, are redirected to
    the confirm page; requests from other sites' pages are refused. One kind of link serves both sign-up and sign-in.
    """
    if navigates(request):
        page = f"{resources.settings.public_url}/auth/confirm#token={quote(token, safe='')}"
        return RedirectResponse(page, status_code=303)
    await check_program(request)
    signed_in = await service.verify(resources, token, client, locale)
    return _token_body(resources, signed_in)


@router.post(
    "/logout",
    operation_id="logout",
    summary="Sign out",
    responses=problems(Unauthorized, Forbidden, Unavailable),
)
async def logout(
    request: Request, session: SessionDep, resources: ResourcesDep, caller: UserDep, locale: LocaleDep
) -> MessageOut:
    """Ends this session: its access tokens, cookies and open workspaces are refused from now on."""
    await end_own_session(session, caller)
    clear_session_cookies(request, resources.settings)
    return MessageOut(message=SIGNED_OUT.format(locale))


def _token_body(resources: Resources, signed_in: service.SignInResult) -> TokenOut:
    settings = resources.settings
    return TokenOut(
        access_token=signed_in.access_token,
        expires_in=min(settings.access_token_seconds, settings.session_seconds),
        user=view_user(signed_in.user, signed_in.container_id),
        job=signed_in.job,
    )


def _set_cookies(
    request: Request, response: Response, resources: Resources, signed_in: service.SignInResult, browser: DeviceCookie
) -> None:
    set_session_cookies(request, resources.settings, signed_in.pages)
    set_device_cookie(response, resources.settings, mark_trusted(resources.tokens, browser, signed_in.user.email))
