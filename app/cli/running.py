"""Runs a command's asynchronous part, in a transaction if needed."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from app.catalog.loader import CatalogInvalid
from app.core.errors import AppError
from app.core.settings.reading import load_settings
from app.resources import Resources, open_resources
from app.runtime.base import RuntimeFault

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` and return its result; on a refusal or an unavailable part, print one sentence and exit with 1."""
    try:
        return asyncio.run(work)
    except AppError as error:
        raise SystemExit(error.detail.format("en", **error.values)) from None
    except CatalogInvalid as invalid:
        raise SystemExit(str(invalid)) from None
    except RuntimeFault as fault:
        raise SystemExit(f"the engine refused ({fault.code}): {fault}") from None
    except (SQLAlchemyError, OSError) as error:
        # Without its text, which may contain an address with its password.
        raise SystemExit(f"the database does not answer ({type(error).__name__})") from None


@asynccontextmanager
async def transaction() -> AsyncIterator[tuple[AsyncSession, Resources]]:
    """Open a transaction with this process's settings; it commits at the end of the block."""
    async with open_resources(load_settings()) as resources, resources.unit_of_work() as session:
        yield session, resources
