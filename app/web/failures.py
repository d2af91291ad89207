"""Errors as people see them: a page in place of a problem document."""

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from app.errors import Problem
from app.web.rendering import page

PROGRAMS = ("/api/", "/internal/", "/static/")


def is_htmx(request: Request) -> bool:
    """Whether a page's own element asks, rather than the browser as a whole."""
    return request.headers.get("hx-request") == "true"


def error_page(request: Request, problem: Problem) -> Response | None:
    """The page for a problem, or None where no person would see it. Who is not signed in goes where they can."""
    if request.url.path.startswith(PROGRAMS):
        return None
    if is_htmx(request):
        return Response(status_code=401, headers={"HX-Redirect": "/sign-in"}) if problem.status == 401 else None
    if "text/html" not in request.headers.get("accept", ""):
        return None
    if problem.status == 401:
        return RedirectResponse("/sign-in", 303)
    return page(request, "problem.html", status=problem.status, caller=None, problem=problem)
