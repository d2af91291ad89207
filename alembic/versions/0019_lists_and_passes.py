"""indexes of accounts and workspaces by age, for the admins' lists, and of workspaces that do not rest."""

import sqlalchemy as sa

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_users_newest", "users", ["created_at", "id"])
    op.create_index("ix_workspaces_newest", "workspaces", ["created_at", "id"])
    in_use = sa.text("status NOT IN ('not_created', 'stopped')")
    op.create_index("ix_workspaces_in_use", "workspaces", ["status"], postgresql_where=in_use)


def downgrade() -> None:
    op.drop_index("ix_workspaces_in_use", table_name="workspaces")
    op.drop_index("ix_workspaces_newest", table_name="workspaces")
    op.drop_index("ix_users_newest", table_name="users")
