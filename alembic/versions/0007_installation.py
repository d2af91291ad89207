"""an id of the installation, the oldest code that its tables serve, and what may be removed without a person's word."""

import sqlalchemy as sa

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "installation",
        sa.Column("id", sa.Integer(), server_default=sa.text("1"), autoincrement=False, nullable=False),
        sa.Column("uid", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("serves_from", sa.String(length=10), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_installation_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_installation")),
    )
    # The code of the first version that was used works on these tables. A migration that ends this says so here:
    # op.execute("UPDATE installation SET serves_from = '…'").
    op.execute("INSERT INTO installation (serves_from) VALUES ('0003')")
    op.create_table(
        "retired_workspaces",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("retired_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", name=op.f("pk_retired_workspaces")),
    )
    op.add_column("volumes", sa.Column("found_at", TIME, nullable=True))


def downgrade() -> None:
    op.drop_column("volumes", "found_at")
    op.drop_table("retired_workspaces")
    op.drop_table("installation")
