"""how a workspace last ended by itself, and how many programs in it the kernel killed."""

import sqlalchemy as sa

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("workspaces", sa.Column("last_exit", sa.String(length=40), nullable=True))
    op.add_column("workspaces", sa.Column("last_exit_at", TIME, nullable=True))
    op.add_column("workspaces", sa.Column("last_exit_status", sa.Integer(), nullable=True))
    op.add_column("workspaces", sa.Column("memory_kills", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("workspaces", sa.Column("memory_kill_at", TIME, nullable=True))


def downgrade() -> None:
    for column in ("memory_kill_at", "memory_kills", "last_exit_status", "last_exit_at", "last_exit"):
        op.drop_column("workspaces", column)
