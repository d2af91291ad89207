"""/api/auth: ask for a link, spend it, sign out."""

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
    303: {"description": "A browser's navigation: go to the page where the person confirms. Nothing is spent"},
    **SPENDING,
    **problems(NotAcceptable),
}
# What makes a browser do any of this from another site's page is refused.
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
    """Mails a link that confirms the address, or one to sign in where it has an account already.

    The answer is the same for every address: it tells neither whether an account exists nor whether mail arrives.
    A browser without one gets a cookie, by which it is recognised when the link is opened.
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
    """Mails a link to sign in where the address has an account. The answer is the same for every address."""
    await request_link(session, resources, LinkPurpose.LOGIN, body.email, locale, client.address, browser)
    set_new_device_cookie(response, resources.settings, browser)
    return MessageOut(message=SENT.format(locale))


@router.post("/link", operation_id="look_at_link", summary="Preview a magic link", responses=LOOKING, dependencies=OURS)
async def look_at_link(body: VerifyIn, resources: ResourcesDep, browser: DeviceCookieDep, locale: LocaleDep) -> LinkOut:
    """Tells whose link it is and where it leads, before anybody presses a button. Spends nothing."""
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
    """Signs in, once for each link, and makes sure that the default workspace runs. Sets the pages' cookies as well.

    What keeps the workspace from being launched does not keep anybody from signing in: `job` is null then.

    The first account ever verified becomes the administrator. Other links of the account end. A blocked account is
    refused and its link stays unspent.
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
    """Signs in like `POST /api/auth/verify`, with the code of the mail, in the browser that asked for it.

    Five wrong codes end those of all links that the browser has asked for; the links themselves stay good.
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
    """For programs: signs in like `POST /api/auth/verify`, without a cookie, where `Accept` names `application/json`.

    Nothing else spends the link. A browser that navigates here, or a mail scanner that acts like one, is sent to the
    confirm page instead; what another site's page loads is refused. One kind of link serves both addresses: the account
    decides.
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
    """Ends this session: its access tokens, its cookies and the workspaces opened with it are refused from now on."""
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
