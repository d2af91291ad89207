"""Requests beyond the limit make a mailed link good again. Code from before takes them for wishes for another mail."""

import sqlalchemy as sa

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("link_requests", sa.Column("renewal", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    op.drop_column("link_requests", "renewal")
