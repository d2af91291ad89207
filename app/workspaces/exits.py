"""What ended by itself in a workspace: its container, or single programs that the kernel killed for want of memory."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, or_, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.audit import trail
from app.core.i18n import Locale, Text
from app.models import Workspace, utcnow
from app.runtime.base import Status
from app.workspaces.errors import explain
from app.workspaces.schemas import LastExitOut, MemoryKillsOut

# The code of one that ended in order, which is no failure.
ENDED = "ended"
ENDED_TEXT = Text("The workspace ended by itself, in order.", "Der Arbeitsplatz hat sich ordnungsgemäß selbst beendet.")
KILLED_TEXT = Text(
    "Memory ran out, and the kernel ended a program in the workspace, such as a notebook's kernel. "
    "Close what you do not need, or ask your operator for a larger limit.",
    "Der Arbeitsspeicher war erschöpft, und das System hat ein Programm im Arbeitsplatz beendet, etwa den Kernel eines "
    "Notebooks. Schließe, was du nicht brauchst, oder bitte den Betreiber um ein höheres Limit.",
)


def record_exit(workspace: Workspace, status: Status, code: str | None) -> None:
    """Write into the locked row that its container ended, and why."""
    workspace.last_exit, workspace.last_exit_at, workspace.last_exit_status = code or ENDED, utcnow(), status.exit_code


def record_restart(session: AsyncSession, workspace: Workspace, code: str) -> None:
    """Add to the owner's activity that the workspace died and is started again."""
    trail.record(session, "workspace_restarted", "workspace", str(workspace.id), actor=trail.SYSTEM, detail=code)


async def record_memory_kill(session: AsyncSession, workspace_id: UUID, at: datetime, count: int | None) -> bool:
    """Count programs that the kernel killed: `count` in this run of the container where that is known, else one more.

    Every worker hears of a kill, and may hear twice: `at` is the kernel's time of it, and an older one changes nothing.
    Says whether this call counted it.
    """
    news: ColumnElement[bool] = or_(Workspace.memory_kill_at.is_(None), Workspace.memory_kill_at < at)
    if count is not None:
        news &= Workspace.memory_kills != count
    values = {"memory_kills": Workspace.memory_kills + 1 if count is None else count, "memory_kill_at": at}
    row = update(Workspace).where(Workspace.id == workspace_id, news).values(**values).returning(Workspace.memory_kills)
    total = await session.scalar(row, execution_options={"synchronize_session": False})
    if total is None:
        return False
    act = ("workspace_memory_killed", "workspace", str(workspace_id))
    # Programs can have themselves killed in a loop: the trail has the first of a minute, the row has them all.
    if not await trail.is_fresh(session, *act):
        trail.record(session, *act, actor=trail.SYSTEM, detail=f"{total} in this run")
    return True


def last_exit(workspace: Workspace | None, locale: Locale) -> LastExitOut | None:
    """How the workspace's container last ended by itself, if it did."""
    if workspace is None or workspace.last_exit is None or workspace.last_exit_at is None:
        return None
    code = workspace.last_exit
    return LastExitOut(
        code=code,
        message=ENDED_TEXT.format(locale) if code == ENDED else explain(code, locale),
        exit_code=workspace.last_exit_status,
        at=workspace.last_exit_at,
        restarts=workspace.restarts,
    )


def memory_kills(workspace: Workspace | None, locale: Locale) -> MemoryKillsOut | None:
    """Programs that the kernel killed in it, if there were any."""
    if workspace is None or not workspace.memory_kills or workspace.memory_kill_at is None:
        return None
    return MemoryKillsOut(count=workspace.memory_kills, at=workspace.memory_kill_at, message=KILLED_TEXT.format(locale))
