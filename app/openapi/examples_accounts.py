"""The examples of `app.openapi.examples`, told of sessions and personal tokens."""

from datetime import timedelta
from uuid import UUID

from app.accounts.principal import Scope
from app.accounts.schemas import (
    SESSION_ID,
    TOKEN_ID,
    ApiTokenOut,
    ApiTokensOut,
    MadeTokenOut,
    SessionOut,
    SessionsOut,
)
from app.http.problems import FieldError
from app.openapi.examples import NOW, Bodies, invalid

SESSIONS = SessionsOut(
    sessions=[
        SessionOut(
            id=UUID(SESSION_ID),
            device="Firefox on Linux",
            address="203.0.113.9",
            created_at=NOW - timedelta(hours=2),
            seen_at=NOW,
            current=True,
        ),
        SessionOut(
            id=UUID("e7a4c9d2-3b1f-4e58-a6c0-1d9f8b7e6a53"),
            device="Safari on iPhone",
            address="198.51.100.7",
            created_at=NOW - timedelta(hours=9),
            seen_at=NOW - timedelta(hours=3),
            current=False,
        ),
    ]
)
API_TOKEN = ApiTokenOut(
    id=UUID(TOKEN_ID),
    name="backup",
    scopes=[Scope.READ],
    created_at=NOW,
    expires_at=NOW + timedelta(days=30),
    used_at=None,
)
API_TOKENS = ApiTokensOut(tokens=[API_TOKEN.model_copy(update={"used_at": NOW + timedelta(hours=1)})])
MADE_TOKEN = MadeTokenOut(
    token="spawner_q7Zb0c1xK0hYkq3V9dV8u4rJm2sPz6tW5nXeLfAgBhI",  # noqa: S106 # nosec B106 # an example
    **API_TOKEN.model_dump(),
)

ANSWERS: dict[str, dict[str, Bodies]] = {
    "list_sessions": {"200": {"two_devices": SESSIONS}},
    "make_token": {"201": {"made": MADE_TOKEN}},
    "list_tokens": {"200": {"used": API_TOKENS, "none": ApiTokensOut(tokens=[])}},
}

INVALID: dict[str, FieldError] = {
    "end_session": invalid("id", "uuid_parsing"),
    "make_token": invalid("body", "one_end"),
    "revoke_token": invalid("id", "uuid_parsing"),
}
