"""Warm seats: containers that run before anybody has asked for them. Code from before makes none and finds none."""

import sqlalchemy as sa

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
STATES = "'starting', 'ready', 'claimed', 'failed', 'ending'"


def upgrade() -> None:
    op.create_table(
        "seats",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("template", sa.String(length=20), nullable=False),
        sa.Column("revision", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("memory", sa.BigInteger(), nullable=False),
        sa.Column("cpus", sa.Float(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("error_code", sa.String(length=40), nullable=True),
        sa.Column("run_at", TIME, nullable=False),
        sa.Column("lease_until", TIME, nullable=True),
        sa.Column("container_id", sa.String(length=64), nullable=True),
        sa.Column("host", sa.String(length=64), nullable=True),
        sa.Column("port", sa.Integer(), nullable=True),
        sa.Column("image_digest", sa.String(length=100), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("ready_at", TIME, nullable=True),
        sa.Column("claimed_at", TIME, nullable=True),
        sa.CheckConstraint(f"state IN ({STATES})", name=op.f("ck_seats_seat_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_seats")),
    )
    op.create_index(op.f("ix_seats_template_state"), "seats", ["template", "state"])
    op.add_column("networks", sa.Column("seat_id", sa.Uuid(), nullable=True))
    op.create_unique_constraint(op.f("uq_networks_seat_id"), "networks", ["seat_id"])
    op.create_foreign_key(
        op.f("fk_networks_seat_id_seats"), "networks", "seats", ["seat_id"], ["id"], ondelete="SET NULL"
    )
    op.add_column("workspaces", sa.Column("seat_id", sa.Uuid(), nullable=True))
    op.create_index(op.f("ix_workspaces_seat_id"), "workspaces", ["seat_id"])


def downgrade() -> None:
    op.drop_column("workspaces", "seat_id")
    op.drop_column("networks", "seat_id")
    op.drop_table("seats")
