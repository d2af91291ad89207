"""The pages and their files."""

from fastapi import FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.web import account, docs, error_pages, home, open_workspace, sharing, sign_in
from app.web.rendering import STATIC

KEEP = "public, max-age=31536000, immutable"
ASK = "no-cache"


class Files(StaticFiles):
    """Browsers keep what was asked for by its version, and ask again for the rest."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        answer = await super().get_response(path, scope)
        answer.headers["Cache-Control"] = KEEP if scope["query_string"].startswith(b"v=") else ASK
        return answer


def install_pages(app: FastAPI, *, documented: bool) -> None:
    """Add the pages, their files, and the page that errors become where a person sees them."""
    if documented:
        app.mount("/static-docs", Files(directory=docs.FILES), name="static-docs")
        app.include_router(docs.router)
    app.mount("/static", Files(directory=STATIC), name="static")
    # Before home, whose cards take any word for what is to be done.
    for part in (sign_in, sharing, home, open_workspace, account):
        app.include_router(part.router)
    app.state.error_page = error_pages.error_page
