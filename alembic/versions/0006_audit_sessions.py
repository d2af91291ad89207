"""which session or token a row of the audit trail was written for."""

import sqlalchemy as sa

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add two columns that code before this leaves empty."""
    op.add_column("audit", sa.Column("session_id", sa.Uuid(), nullable=True))
    op.add_column("audit", sa.Column("token_id", sa.Uuid(), nullable=True))


def downgrade() -> None:
    """Drop them."""
    op.drop_column("audit", "token_id")
    op.drop_column("audit", "session_id")
