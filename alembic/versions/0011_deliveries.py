"""What the browser that asked for a link may be told of its mail. Code from before tells nothing."""

import sqlalchemy as sa

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("link_requests", sa.Column("delivery", sa.String(length=7), nullable=True))
    op.add_column("link_requests", sa.Column("delivery_at", sa.DateTime(timezone=True), nullable=True))
    op.create_check_constraint(
        op.f("ck_link_requests_delivery_state"), "link_requests", "delivery IN ('delayed', 'resumed', 'failed')"
    )


def downgrade() -> None:
    op.drop_constraint(op.f("ck_link_requests_delivery_state"), "link_requests", type_="check")
    op.drop_column("link_requests", "delivery_at")
    op.drop_column("link_requests", "delivery")
