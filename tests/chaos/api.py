"""The API as it is, on a clock that the suite sets."""

from fastapi import FastAPI

from app.main import create_app
from tests.chaos.control import from_environment


def create() -> FastAPI:
    """uvicorn's factory."""
    from_environment()
    return create_app()
