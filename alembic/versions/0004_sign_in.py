"""where a sign-in leads, whether a request's link was used, and when a session's newest cookies were first shown."""

import sqlalchemy as sa

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("link_requests", sa.Column("destination", sa.Text(), nullable=True))
    op.add_column("link_requests", sa.Column("used_at", TIME, nullable=True))
    op.add_column("sessions", sa.Column("shown_at", TIME, nullable=True))


def downgrade() -> None:
    op.drop_column("sessions", "shown_at")
    op.drop_column("link_requests", "used_at")
    op.drop_column("link_requests", "destination")
