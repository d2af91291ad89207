"""How many passes of admission have been written."""

import sqlalchemy as sa

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "admission_passes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("written", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_admission_passes_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_admission_passes")),
    )


def downgrade() -> None:
    op.drop_table("admission_passes")
