"""Rows and sign-ins that tests start from."""

from dataclasses import dataclass
from datetime import timedelta

from app.accounts.principal import TOKEN_PREFIX, Client
from app.accounts.sessions import open_session
from app.models import ApiToken, MagicLink, Session, User, UserState, utcnow
from app.resources import Resources
from app.security.tokens import new_token


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A user with a live session: use `headers` as an API client, `cookies` as a browser."""

    user: User
    session: Session
    access_token: str
    cookie: str
    refresh: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.access_token}"}

    @property
    def cookies(self) -> dict[str, str]:
        return {"spawner_session": self.cookie}

    @property
    def both_cookies(self) -> dict[str, str]:
        return {**self.cookies, "spawner_refresh": self.refresh}


async def make_user(
    resources: Resources, slug: str = "alice", *, state: UserState = UserState.VERIFIED, is_admin: bool = False
) -> User:
    """A user in the database."""
    user = User(email=f"{slug}@example.org", slug=slug, state=state, is_admin=is_admin)
    async with resources.unit_of_work() as session:
        session.add(user)
    return user


async def make_token(resources: Resources, user: User, *scopes: str) -> str:
    """A personal token of the user."""
    secret = TOKEN_PREFIX + new_token()
    async with resources.unit_of_work() as session:
        session.add(
            ApiToken(
                user_id=user.id,
                name="test",
                token_hash=resources.tokens.hash("token", secret),
                scopes=list(scopes),
                expires_at=utcnow() + timedelta(days=1),
            )
        )
    return secret


async def sign_in(resources: Resources, user: User | str = "alice") -> SignedIn:
    """A session of the user, who is made first when only a slug is given."""
    if isinstance(user, str):
        user = await make_user(resources, user)
    async with resources.unit_of_work() as session:
        session_id, pages = await open_session(session, resources, user, Client("127.0.0.1", ""))
        row = await session.get_one(Session, session_id)
    access_token = resources.tokens.issue(user.id, row.id, is_admin=user.is_admin)
    return SignedIn(user, row, access_token, pages.access, pages.refresh)


async def make_link(resources: Resources, user: User, *, seconds: float = 600) -> str:
    """A link of the user, as if mailed; its token."""
    token = new_token()
    link = MagicLink(
        user_id=user.id,
        token_hash=resources.tokens.hash("link", token),
        expires_at=utcnow() + timedelta(seconds=seconds),
    )
    async with resources.unit_of_work() as session:
        session.add(link)
    return token
