"""HTML error pages, in place of problem documents."""

from urllib.parse import urlsplit

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from app.auth.return_to import HOME, read_local
from app.http.negotiation import accepts_html
from app.http.problems import Problem
from app.web.rendering import page

PROGRAMS = ("/api/", "/internal/", "/static/")


def is_htmx(request: Request) -> bool:
    """Return whether htmx sent the request for a part of a page."""
    return request.headers.get("hx-request") == "true"


def _sign_in(request: Request) -> str:
    """Return the sign-in form's address, which leads back to the current page."""
    if is_htmx(request):
        shown = urlsplit(request.headers.get("hx-current-url", ""))
        return read_local(f"{shown.path}?{shown.query}").sign_in
    return read_local(f"{request.url.path}?{request.url.query}").sign_in if request.method == "GET" else HOME.sign_in


def error_page(request: Request, problem: Problem) -> Response | None:
    """Return a problem's HTML page, or None for API clients. Redirects to sign-in if that helps."""
    if request.url.path.startswith(PROGRAMS):
        return None
    if is_htmx(request):
        return Response(status_code=401, headers={"HX-Redirect": _sign_in(request)}) if problem.status == 401 else None
    if not accepts_html(request.headers):
        return None
    if problem.status == 401:
        return RedirectResponse(_sign_in(request), 303)
    return page(request, "problem.html", status=problem.status, caller=None, problem=problem)
