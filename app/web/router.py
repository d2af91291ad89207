"""Routes of the pages and static files."""

from fastapi import FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.http.included import included
from app.web import account, docs, error_pages, home, open_workspace, sharing, sign_in
from app.web.rendering import STATIC

KEEP = "public, max-age=31536000, immutable"
ASK = "no-cache"
DOCS = included(docs.router)
# `home` comes behind pages with names of their own: its card routes match any word.
PAGES = included(*(part.router for part in (sign_in, sharing, home, open_workspace, account)))


class Files(StaticFiles):
    """Static files: cached for ever if requested by version, else revalidated."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        answer = await super().get_response(path, scope)
        answer.headers["Cache-Control"] = KEEP if scope["query_string"].startswith(b"v=") else ASK
        return answer


def install_pages(app: FastAPI, *, documented: bool) -> None:
    """Add pages, static files and HTML error pages."""
    if documented:
        app.mount("/static-docs", Files(directory=docs.FILES), name="static-docs")
        app.router.routes.extend(DOCS)
    app.mount("/static", Files(directory=STATIC), name="static")
    app.router.routes.extend(PAGES)
    app.state.error_page = error_pages.error_page
