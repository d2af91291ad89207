"""The destination after sign-in: a page of ours or a place in a workspace.

The link request carries a local address. It is validated when stored and when used, so neither a form nor a row can
redirect elsewhere.
"""

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, urlencode

from app.auth.schemas import NextOut
from app.core.addresses import safe_path, split_route
from app.core.i18n import Locale, Text
from app.resources import Resources

# Characters of path, query and fragment.
MAX_LENGTH = 8192
MAX_SHOWN = 60
OPEN = "/open/"
# Target of share links. Their secret is in the fragment, which the page keeps.
SHARE = "/share"
_PAGES = re.compile(rf"/|/account|{SHARE}|/home/workspaces/[a-z0-9]{{1,20}}/(?:log|shares)")
_FRAGMENT = re.compile(r"#[!-~]+")

OWN = Text("Then it goes on to your workspace {name}.", "Danach geht es zu deinem Arbeitsplatz {name}.")
OWN_PLACE = Text(
    "Then it goes on to {path} in your workspace {name}.", "Danach geht es zu {path} in deinem Arbeitsplatz {name}."
)
FOREIGN = Text(
    "Then it goes on to {route}, somebody else's workspace. Continue only if you wanted to go there.",
    "Danach geht es zu {route}, einem fremden Arbeitsplatz. Mach nur weiter, wenn du dorthin wolltest.",
)
PAGE = Text("Then it goes on to the page {path}.", "Danach geht es zur Seite {path}.")


@dataclass(frozen=True, slots=True)
class ReturnTo:
    """A page of ours or, with a route, a place in a workspace. `cut`: the address was too long and is truncated."""

    page: str = "/"
    route: str | None = None
    path: str = "/"
    fragment: str = ""
    cut: bool = False

    @property
    def local(self) -> str:
        """Return the address on our own origin."""
        if self.route is None:
            return self.page
        query = f"?{urlencode({'next': self.path})}" if self.path != "/" else ""
        return f"{OPEN}{self.route}{query}{self.fragment}"

    @property
    def sign_in(self) -> str:
        """Return the address of the sign-in form that leads there."""
        said = {"next": self.local} if self.local != "/" else {}
        said |= {"cut": "true"} if self.cut else {}
        return f"/sign-in?{urlencode(said)}" if said else "/sign-in"


HOME = ReturnTo()


def read_local(local: str | None, fragment: str = "") -> ReturnTo:
    """Validate an address; returns home if it is not allowed. Truncates a long address to the workspace itself."""
    before, mark, after = (local or "").partition("#")
    path, _, query = before.partition("?")
    if _PAGES.fullmatch(path):
        return ReturnTo(page=path)
    route = path.removeprefix(OPEN)
    if not path.startswith(OPEN) or split_route(route) is None:
        return HOME
    return place_in(route, parse_qs(query).get("next", ["/"])[0], fragment or mark + after)


def place_in(route: str, path: str, fragment: str = "") -> ReturnTo:
    """Return a place in the workspace of a route."""
    known = fragment if _FRAGMENT.fullmatch(fragment) else ""
    if len(path) > MAX_LENGTH:
        return ReturnTo(route=route, cut=True)
    if len(path) + len(known) > MAX_LENGTH:
        return ReturnTo(route=route, path=safe_path(path), cut=True)
    return ReturnTo(route=route, path=safe_path(path), fragment=known)


def view_next(resources: Resources, own: str, kept: str | None, locale: Locale) -> NextOut | None:
    """Describe the destination to a person signing in as the account of slug `own`; None if it is home."""
    to = read_local(kept)
    if to == HOME:
        return None
    path = to.path if len(to.path) <= MAX_SHOWN else f"{to.path[:MAX_SHOWN]}…"
    if to.route is None:
        return NextOut(url=to.local, text=PAGE.format(locale, path=to.page), foreign=False)
    slug, _, key = to.route.partition("-")
    template = resources.catalog.get(key)
    if slug != own or template is None:
        return NextOut(url=to.local, text=FOREIGN.format(locale, route=to.route), foreign=True)
    said = OWN if to.path == "/" else OWN_PLACE
    return NextOut(url=to.local, text=said.format(locale, name=template.name.format(locale), path=path), foreign=False)
