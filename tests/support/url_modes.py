"""Settings in both URL modes."""

from app.core.settings.model import Settings


def make_settings(workspace_url: str) -> Settings:
    return Settings(
        _env_file=None,
        public_url="http://localhost:8080",
        workspace_url=workspace_url,
        allow_shared_origin=True,
        secret_key="a-secret-for-tests-0123456789-abcdefghij",
    )


PATH = make_settings("http://127.0.0.1:8080/{route}")


HOST = make_settings("https://{route}.Apps.example.org:443")
