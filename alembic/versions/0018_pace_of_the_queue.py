"""an index of launches that had waited, by when they were admitted."""

import sqlalchemy as sa

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    waited = sa.text("admitted_at - created_at > interval '1 second'")
    op.create_index("ix_jobs_waited", "jobs", ["admitted_at"], postgresql_where=waited)


def downgrade() -> None:
    op.drop_index("ix_jobs_waited", table_name="jobs")
