"""What the API says of its settings when it starts."""

import gc

import pytest

from app.core.settings.model import Settings
from app.main import create_app


@pytest.mark.parametrize(
    ("environment", "workspaces", "warned"),
    [
        ("production", "http://127.0.0.1:8080/{route}", 1),
        ("production", "http://{route}.apps.localhost:8080", 0),
        ("development", "http://127.0.0.1:8080/{route}", 0),
    ],
)
async def test_production_says_once_that_workspaces_share_an_origin(
    settings: Settings, capsys: pytest.CaptureFixture[str], environment: str, workspaces: str, warned: int
) -> None:
    app = create_app(settings.model_copy(update={"environment": environment, "workspace_url": workspaces}))
    async with app.router.lifespan_context(app):
        pass
    assert capsys.readouterr().err.count("workspaces_share_an_origin") == warned


async def test_a_full_collection_spares_what_a_started_process_holds(settings: Settings) -> None:
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        assert gc.get_freeze_count() > 10_000
