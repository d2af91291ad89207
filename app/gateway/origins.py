"""Which pages may ask what of a workspace, in the name of the person whose browser they stand in."""

from urllib.parse import urlsplit

from app.catalog.templates import Template
from app.core.addresses import Route, origin_of
from app.core.errors import Forbidden, MethodNotAllowed
from app.core.settings.model import Settings
from app.gateway.errors import TokenInBrowser
from app.gateway.proxied_request import ProxiedRequest

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def crosses_sites(settings: Settings, template: Template | None) -> bool:
    """Whether a workspace's cookie must come along where another site's page frames it or posts to it.

    Browsers allow such a cookie over TLS only.
    """
    wanted = bool(settings.frame_ancestors) or (template is not None and bool(template.posts_from))
    return wanted and settings.workspace_url.startswith("https://")


def check_page(settings: Settings, proxied: ProxiedRequest, route: Route, template: Template | None) -> None:
    """Raise `Forbidden` for what another origin's page asks in the visitor's name.

    Websockets know no same-origin policy, so they must name their origin. Other requests are refused if the browser
    says that they come from elsewhere and may change something, or bring scripts, images or frames into another page:
    the workspaces are siblings of one site, and SameSite cookies do not keep siblings apart. Links from anywhere work,
    and what the operator lists: frames, and forms that a template expects.
    """
    own = origin_of(settings, route.name)
    changes = proxied.method not in SAFE_METHODS
    if proxied.upgrade:
        _check_upgrade(proxied)
        if proxied.origin != own:
            raise Forbidden
    elif proxied.site in ("same-origin", "none") or _is_listed(settings, proxied, own, template):
        return
    elif proxied.site is not None:
        if changes or proxied.part:
            raise Forbidden
    # A browser that does not say where a request comes from cannot be let in with a cookie that comes from anywhere.
    elif (changes and proxied.origin not in (None, own)) or (proxied.cookies and crosses_sites(settings, template)):
        raise Forbidden


def check_program(proxied: ProxiedRequest) -> None:
    """Raise `TokenInBrowser` for a browser's page: one that knows a token is one that it has leaked to."""
    if proxied.browser:
        raise TokenInBrowser
    _check_upgrade(proxied)


def _is_listed(settings: Settings, proxied: ProxiedRequest, own: str, template: Template | None) -> bool:
    """Whether a page comes into a frame that may hold it, or a form comes from where its template expects one.

    A frame's own page names itself in the referrer. Above it others may stand: those the browser compares with the
    policy of the answer.
    """
    if proxied.framed:
        return proxied.navigates and _origin(proxied.referrer) in (own, *settings.frame_ancestors)
    posts = proxied.method == "POST" and proxied.page and not proxied.part
    return posts and template is not None and proxied.origin in template.posts_from


def _origin(url: str | None) -> str | None:
    parts = urlsplit(url or "")
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else None


def _check_upgrade(proxied: ProxiedRequest) -> None:
    if proxied.upgrade and proxied.method not in ("GET", "CONNECT"):
        raise MethodNotAllowed
