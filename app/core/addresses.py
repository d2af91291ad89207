"""Builds and parses the public names of workspaces; no other module does.

A route is `{slug}-{template}`. Neither half contains a hyphen, so routes are unique. In path mode the route is the
first segment of the raw, undecoded path; in host mode it is the first label of the host.
"""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from app.core.settings.model import Settings

_LABEL = re.compile(r"([a-z0-9]{1,30})(?:-([a-z0-9]{1,20}))?")
_SEGMENT = re.compile(r"/([a-z0-9-]+)(?=[/?]|\Z)")
_PORT = re.compile(r":[0-9]*\Z")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True, slots=True)
class Route:
    """The public name of a workspace in a request.

    `prefix` precedes the workspace's own paths (`/alice-hello`; empty in host mode). `rest` is the remaining raw URI:
    empty, or starting with `/` or `?`.
    """

    slug: str
    template: str
    prefix: str
    rest: str

    @property
    def name(self) -> str:
        """`{slug}-{template}`."""
        return route_of(self.slug, self.template)


@dataclass(frozen=True, slots=True)
class Alias:
    """A slug without a template: the user's workspace of the default template."""

    slug: str
    rest: str


def route_of(slug: str, template: str) -> str:
    """The route of a user's workspace."""
    return f"{slug}-{template}"


def split_route(route: str) -> tuple[str, str] | None:
    """Return slug and template of a route; None if no workspace can have this name."""
    match = _LABEL.fullmatch(route)
    return (match[1], match[2]) if match and match[2] else None


def base_path(settings: Settings, route: str) -> str:
    """Return the root path of the workspace: `/{route}/`, or `/` in host mode."""
    return "/" if settings.host_mode else f"/{route}/"


def origin_of(settings: Settings, route: str) -> str:
    """Return the workspace's origin as browsers serialize it: lower case, without a default port."""
    parts = urlsplit(settings.workspace_url)
    netloc = parts.netloc.lower().replace("{route}", route)
    return f"{parts.scheme}://{netloc.removesuffix(_DEFAULT_PORTS[parts.scheme])}"


def workspace_url(settings: Settings, slug: str, template: str) -> str:
    """Return the URL of a workspace, with a trailing slash."""
    route = route_of(slug, template)
    return origin_of(settings, route) + base_path(settings, route)


def address_of(settings: Settings, route: str, rest: str) -> str:
    """Return the canonical URL of a path in a workspace; `rest` as in `Route`."""
    path = rest if rest.startswith("/") else f"/{rest}"
    return origin_of(settings, route) + base_path(settings, route).rstrip("/") + path


def placeholders(settings: Settings, slug: str, template: str, *, user: str) -> dict[str, str]:
    """Return the values of a template's placeholders (`app.catalog.placeholders.NAMES`). `user` is a slug."""
    base = base_path(settings, route_of(slug, template))
    return {
        "base_path": base,
        "prefix": base.rstrip("/"),
        "workspace_url": workspace_url(settings, slug, template),
        "public_url": settings.public_url,
        "user": user,
    }


def parse(settings: Settings, host: str, uri: str) -> Route | Alias | None:
    """Parse the public name of a request; None if there is none. Never raises, decodes nothing."""
    if not uri.startswith("/"):
        return None
    if settings.host_mode:
        label, prefix, rest = _label_of(settings, host), "", uri
    else:
        segment = _SEGMENT.match(uri)
        label = segment[1] if segment else ""
        prefix, rest = f"/{label}", uri[len(label) + 1 :]
    match = _LABEL.fullmatch(label)
    if match is None:
        return None
    return Route(match[1], match[2], prefix, rest) if match[2] else Alias(match[1], rest)


def _label_of(settings: Settings, host: str) -> str:
    """In host mode, return the label in place of `{route}`; empty for another domain. The host may have a port."""
    domain = _PORT.sub("", urlsplit(settings.workspace_url).netloc).lower().removeprefix("{route}")
    name = _PORT.sub("", host).lower()
    return name.removesuffix(domain) if name.endswith(domain) else ""


# Browsers treat backslashes as slashes and drop control characters and spaces: all are rejected.
_PATH = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f-\U0010ffff]*")


_DOTS = re.compile(r"/(\.|%2e){1,2}(?=/|\Z)", re.IGNORECASE)


def safe_path(path: str) -> str:
    """Return the path with its query unchanged if it cannot leave the workspace; else `/`."""
    before_query = path.partition("?")[0].partition("#")[0]
    return path if _PATH.fullmatch(path) and not _DOTS.search(before_query) else "/"
