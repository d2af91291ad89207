"""Browsers, as far as a page can tell."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from app.resources import Resources
from tests.support.browsers import make_browser
from tests.support.factories import SignedIn


@pytest.fixture
async def browser(app: FastAPI, resources: Resources) -> AsyncIterator[httpx.AsyncClient]:
    """A visitor's browser; nobody is signed in."""
    async with make_browser(app) as opened:
        yield opened


@pytest.fixture
async def hers(app: FastAPI, alice: SignedIn) -> AsyncIterator[httpx.AsyncClient]:
    """Alice's browser, signed in."""
    async with make_browser(app, alice) as opened:
        yield opened
