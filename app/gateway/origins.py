"""Which pages may send which requests to a workspace with the visitor's cookies."""

from urllib.parse import urlsplit

from app.catalog.templates import Template
from app.core.addresses import Route, origin_of
from app.core.errors import Forbidden, MethodNotAllowed
from app.core.settings.model import Settings
from app.gateway.errors import TokenInBrowser
from app.gateway.proxied_request import ProxiedRequest

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def crosses_sites(settings: Settings, template: Template | None) -> bool:
    """Return whether the workspace's cookie must be sent cross-site: for frames of, or posts from, other sites.

    Browsers permit such cookies only with TLS.
    """
    wanted = bool(settings.frame_ancestors) or (template is not None and bool(template.posts_from))
    return wanted and settings.workspace_url.startswith("https://")


def check_page(settings: Settings, proxied: ProxiedRequest, route: Route, template: Template | None) -> None:
    """Raise `Forbidden` for disallowed requests of another origin's page.

    Websockets ignore the same-origin policy, so they must name their origin. Other requests are refused if the browser
    reports another origin and they may change something, or load scripts, images or frames into its page: workspaces
    are same-site, so SameSite does not protect them from each other. Permitted are links from anywhere, and listed
    frames and form posts.
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
    # Without Fetch Metadata or Origin, a cookie sent cross-site cannot be trusted.
    elif (changes and proxied.origin not in (None, own)) or (proxied.cookies and crosses_sites(settings, template)):
        raise Forbidden


def check_program(proxied: ProxiedRequest) -> None:
    """Raise `TokenInBrowser` if a browser's page sends a token: the token has leaked to it."""
    if proxied.browser:
        raise TokenInBrowser
    _check_upgrade(proxied)


def _is_listed(settings: Settings, proxied: ProxiedRequest, own: str, template: Template | None) -> bool:
    """Return whether a listed page frames the workspace, or a form post comes from the template's origins.

    A frame's own page is the referrer. The browser checks pages above it against the response's CSP.
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
