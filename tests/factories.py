"""Rows and sign-ins that tests start from."""

from dataclasses import dataclass
from datetime import timedelta

from app.auth.tokens import new_token
from app.models import Session, User, UserState, utcnow
from app.resources import Resources


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A user with a live session: use `headers` as an API client, `cookies` as a browser."""

    user: User
    session: Session
    access_token: str
    cookie: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.access_token}"}

    @property
    def cookies(self) -> dict[str, str]:
        return {"spawner_session": self.cookie}


async def make_user(
    resources: Resources, slug: str = "alice", *, state: UserState = UserState.VERIFIED, is_admin: bool = False
) -> User:
    """A user in the database."""
    user = User(email=f"{slug}@example.org", slug=slug, state=state, is_admin=is_admin)
    async with resources.unit_of_work() as session:
        session.add(user)
    return user


async def sign_in(resources: Resources, user: User | str = "alice") -> SignedIn:
    """A session of the user, who is made first when only a slug is given."""
    if isinstance(user, str):
        user = await make_user(resources, user)
    cookie = new_token()
    row = Session(
        user_id=user.id,
        cookie_hash=resources.tokens.hash("session", cookie),
        expires_at=utcnow() + timedelta(hours=1),
    )
    async with resources.unit_of_work() as session:
        session.add(row)
    return SignedIn(user, row, resources.tokens.issue(user.id, row.id, is_admin=user.is_admin), cookie)
