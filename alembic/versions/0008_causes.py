"""what the engine said of a job that failed, for admins."""

import sqlalchemy as sa

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column that code before this leaves empty."""
    op.add_column("jobs", sa.Column("cause", sa.String(500), nullable=True))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("jobs", "cause")
