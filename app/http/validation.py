"""Problem documents for the fields that FastAPI finds invalid. The gateway and workers do not load FastAPI."""

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError

from app.core.errors import InvalidRequest
from app.http.negotiation import locale_of
from app.http.problems import field_error, render


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # nosec B101 # narrows the type
    locale = locale_of(request)
    return render(request, InvalidRequest(), [field_error(item, locale) for item in error.errors()])


def install(app: FastAPI) -> None:
    """Register the handler."""
    app.add_exception_handler(RequestValidationError, _invalid)
