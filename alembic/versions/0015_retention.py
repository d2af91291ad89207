"""Indexes by which old rows are found, and by which passes find what does not rest."""

import sqlalchemy as sa

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

# All migrations of an update are one transaction under one lock, in which no index can be made concurrently. Writes to
# a table wait while its index is made: about a second for a million rows.
INDEXES = {
    "ix_jobs_history": ("jobs", ["workspace_id", "created_at", "id"]),
    "ix_idempotency_keys_job_id": ("idempotency_keys", ["job_id"]),
    "ix_link_requests_expires_at": ("link_requests", ["expires_at"]),
    "ix_magic_links_expires_at": ("magic_links", ["expires_at"]),
    "ix_sessions_expires_at": ("sessions", ["expires_at"]),
    "ix_api_tokens_expires_at": ("api_tokens", ["expires_at"]),
    "ix_share_links_expires_at": ("share_links", ["expires_at"]),
    "ix_share_links_revoked_at": ("share_links", ["revoked_at"]),
    "ix_shares_expires_at": ("shares", ["expires_at"]),
    "ix_shares_revoked_at": ("shares", ["revoked_at"]),
    "ix_workspaces_status": ("workspaces", ["status"]),
}


def upgrade() -> None:
    for name, (table, columns) in INDEXES.items():
        op.create_index(name, table, columns)
    op.create_index("ix_users_unconfirmed", "users", ["created_at"], postgresql_where=sa.text("state = 'registered'"))
    # The new one begins with the same column.
    op.drop_index("ix_jobs_workspace_id", table_name="jobs")


def downgrade() -> None:
    op.create_index("ix_jobs_workspace_id", "jobs", ["workspace_id"])
    op.drop_index("ix_users_unconfirmed", table_name="users")
    for name, (table, _) in INDEXES.items():
        op.drop_index(name, table_name=table)
