"""People who are signed in already, made in one transaction."""

from dataclasses import dataclass
from uuid import UUID

from app.accounts.principal import Client
from app.accounts.sessions import open_session
from app.models import User, UserState, WorkspaceCookie
from app.resources import Resources
from app.security.tokens import new_token


@dataclass(frozen=True, slots=True)
class Account:
    """A user with a live session."""

    user_id: UUID
    session_id: UUID
    slug: str
    access_token: str
    cookie: str

    @property
    def headers(self) -> dict[str, str]:
        """As an API client sends them."""
        return {"Authorization": f"Bearer {self.access_token}"}


async def sign_in_many(resources: Resources, prefix: str, count: int, *, is_admin: bool = False) -> list[Account]:
    """Make users `prefix0` and so on, each with a session."""
    found = []
    async with resources.unit_of_work() as session:
        users = [
            User(
                email=f"{prefix}{number}@example.org",
                slug=f"{prefix}{number}",
                state=UserState.ACTIVE,
                is_admin=is_admin,
            )
            for number in range(count)
        ]
        session.add_all(users)
        await session.flush()
        for user in users:
            session_id, pages = await open_session(session, resources, user, Client("127.0.0.1", ""))
            token = resources.tokens.issue(user.id, session_id, is_admin=is_admin)
            found.append(Account(user.id, session_id, user.slug, token, pages.access))
    return found


async def give_workspace_cookie(resources: Resources, account: Account, workspace_id: UUID) -> str:
    """The cookie that a browser holds once it has entered the workspace, as a header's value."""
    secret = new_token()
    digest = resources.tokens.hash("workspace", secret)
    async with resources.unit_of_work() as session:
        session.add(WorkspaceCookie(token_hash=digest, session_id=account.session_id, workspace_id=workspace_id))
    return f"spawner_workspace={secret}"
