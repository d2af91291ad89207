"""Accounts begin when their address is confirmed; mail goes to addresses as they were typed.

Code from before goes on: it writes none of the new columns, takes a link without an account for one that is not valid,
and makes accounts of unconfirmed addresses, which the reconciler removes after a day.
"""

import sqlalchemy as sa

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# A link that is in somebody's mailbox stays good.
KEEP_LINKS = """
UPDATE magic_links SET email = users.email, user_id = NULL FROM users
WHERE users.id = magic_links.user_id AND spent_at IS NULL
AND state = 'registered' AND NOT is_admin AND blocked_at IS NULL AND running_limit IS NULL
"""
# Nobody confirmed these addresses, and nobody made anything of them: their slugs are free for who does.
DELETE_UNCONFIRMED = """
DELETE FROM users WHERE state = 'registered' AND NOT is_admin AND blocked_at IS NULL AND running_limit IS NULL
"""


def upgrade() -> None:
    for table in ("users", "link_requests", "magic_links"):
        op.add_column(table, sa.Column("mailbox", sa.String(length=254), nullable=True))
    op.add_column("magic_links", sa.Column("email", sa.String(length=254), nullable=True))
    op.create_index(op.f("ix_magic_links_email"), "magic_links", ["email"])
    op.alter_column("magic_links", "user_id", nullable=True)
    op.execute(KEEP_LINKS)
    op.execute(DELETE_UNCONFIRMED)


def downgrade() -> None:
    # Links of addresses without an account cannot be kept: who holds one asks for another.
    op.execute("DELETE FROM magic_links WHERE user_id IS NULL")
    op.alter_column("magic_links", "user_id", nullable=False)
    op.drop_index(op.f("ix_magic_links_email"), table_name="magic_links")
    op.drop_column("magic_links", "email")
    for table in ("magic_links", "link_requests", "users"):
        op.drop_column(table, "mailbox")
