"""How often a letter was transmitted without an answer. Code from before leaves the count at zero."""

import sqlalchemy as sa

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("link_requests", sa.Column("transmissions", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("link_requests", "transmissions")
