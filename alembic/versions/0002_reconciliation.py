"""networks made ahead, volumes as rows, admission, and what a failure leaves."""

import sqlalchemy as sa

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATUSES = [
    "not_created",
    "queued",
    "pulling",
    "creating",
    "starting",
    "probing",
    "running",
    "paused",
    "stopping",
    "stopped",
    "deleting",
    "error",
]
KINDS = ["launch", "restart", "stop", "delete"]
STEPS = ["queued", "claimed", "pulling", "creating", "starting", "probing", "ready", "retrying", "failed", "superseded"]
NEW_STEPS = ["pausing", "stopping", "deleting", "done", "cancelled"]
TIME = sa.DateTime(timezone=True)


def _allow(table: str, column: str, name: str, values: list[str]) -> None:
    """Replace the check constraint that lists a text column's values."""
    op.drop_constraint(op.f(f"ck_{table}_{name}"), table, type_="check")
    listed = ", ".join(f"'{value}'" for value in values)
    op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, f"{column} IN ({listed})")


def upgrade() -> None:
    op.create_table(
        "engine",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.Column("cpus", sa.Integer(), nullable=False),
        sa.Column("disk_free_bytes", sa.BigInteger(), nullable=True),
        sa.Column("seen_at", TIME, nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_engine_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_engine")),
    )
    op.create_table(
        "images",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("digest", sa.String(length=100), nullable=False),
        sa.Column("seen_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_images")),
    )
    _create_networks()
    _create_volumes()
    _extend_jobs()
    op.add_column("users", sa.Column("running_limit", sa.Integer(), nullable=True))
    op.add_column("workspaces", sa.Column("exit_code", sa.Integer(), nullable=True))
    op.add_column("workspaces", sa.Column("restarts", sa.Integer(), nullable=False, server_default="0"))
    op.alter_column("workspaces", "restarts", server_default=None)
    op.add_column("workspaces", sa.Column("reserved_memory", sa.BigInteger(), nullable=True))
    op.add_column("workspaces", sa.Column("reserved_cpus", sa.Double(), nullable=True))
    op.add_column("workspaces", sa.Column("started_at", TIME, nullable=True))
    op.add_column("workspaces", sa.Column("active_at", TIME, nullable=True))
    op.add_column("workspaces", sa.Column("sampled_at", TIME, nullable=True))
    op.add_column("workspaces", sa.Column("cpu_seconds", sa.Double(), nullable=True))
    op.add_column("workspaces", sa.Column("network_bytes", sa.BigInteger(), nullable=True))
    op.add_column("workspaces", sa.Column("rest_reason", sa.String(length=40), nullable=True))
    op.execute("UPDATE workspaces SET started_at = status_at, active_at = now() WHERE status IN ('running', 'paused')")
    op.create_index(
        "ix_workspaces_reserved", "workspaces", ["user_id"], postgresql_where=sa.text("reserved_memory IS NOT NULL")
    )


def _create_networks() -> None:
    """Networks belonged to workspaces by a number in their row."""
    op.create_table(
        "networks",
        sa.Column("index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=True),
        sa.Column("ready", sa.Boolean(), nullable=False),
        sa.Column("rests_until", TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_networks_workspace_id_workspaces"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("index", name=op.f("pk_networks")),
        sa.UniqueConstraint("workspace_id", name=op.f("uq_networks_workspace_id")),
    )
    op.execute(
        "INSERT INTO networks (index, workspace_id, ready) "
        "SELECT subnet, id, false FROM workspaces WHERE subnet IS NOT NULL"
    )
    op.drop_constraint(op.f("uq_workspaces_subnet"), "workspaces", type_="unique")
    op.drop_column("workspaces", "subnet")


def _create_volumes() -> None:
    op.create_table(
        "volumes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("workspace_id", sa.Uuid(), nullable=True),
        sa.Column("template", sa.String(length=20), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("delete_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_volumes_user_id_users"), ondelete="SET NULL"),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_volumes_workspace_id_workspaces"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_volumes")),
        sa.UniqueConstraint("name", name=op.f("uq_volumes_name")),
    )
    for column in ("delete_at", "user_id", "workspace_id"):
        op.create_index(op.f(f"ix_volumes_{column}"), "volumes", [column])


def _extend_jobs() -> None:
    op.add_column("jobs", sa.Column("platform", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("jobs", sa.Column("touched", sa.Boolean(), nullable=False, server_default=sa.true()))
    was = sa.Enum(*STATUSES, name="was", native_enum=False, create_constraint=True)
    op.add_column("jobs", sa.Column("was", was, nullable=False, server_default="stopped"))
    for column in ("platform", "touched", "was"):
        op.alter_column("jobs", column, server_default=None)
    op.add_column("jobs", sa.Column("admitted_at", TIME, nullable=True))
    op.execute("UPDATE jobs SET admitted_at = created_at")
    op.add_column("jobs", sa.Column("waits_for", sa.String(length=40), nullable=True))
    op.add_column("jobs", sa.Column("exit_code", sa.Integer(), nullable=True))
    op.add_column("jobs", sa.Column("log_tail", sa.Text(), nullable=True))
    _allow("jobs", "kind", "job_kind", [*KINDS, "pause"])
    _allow("jobs", "step", "job_step", [*STEPS, *NEW_STEPS])
    _allow("job_events", "step", "job_step", [*STEPS, *NEW_STEPS])


def downgrade() -> None:
    op.execute("DELETE FROM jobs WHERE kind = 'pause'")
    listed = ", ".join(f"'{step}'" for step in NEW_STEPS)
    for table in ("jobs", "job_events"):
        op.execute(f"UPDATE {table} SET step = 'ready' WHERE step IN ({listed})")  # noqa: S608  # our own constants
        _allow(table, "step", "job_step", STEPS)
    _allow("jobs", "kind", "job_kind", KINDS)
    for column in ("log_tail", "exit_code", "waits_for", "admitted_at", "touched", "was", "platform"):
        op.drop_column("jobs", column)
    op.add_column("workspaces", sa.Column("subnet", sa.Integer(), nullable=True))
    op.execute(
        "UPDATE workspaces SET subnet = networks.index FROM networks WHERE networks.workspace_id = workspaces.id"
    )
    op.create_unique_constraint(op.f("uq_workspaces_subnet"), "workspaces", ["subnet"])
    op.drop_index("ix_workspaces_reserved", table_name="workspaces")
    for column in [
        "rest_reason",
        "network_bytes",
        "cpu_seconds",
        "sampled_at",
        "active_at",
        "started_at",
        "reserved_cpus",
        "reserved_memory",
        "restarts",
        "exit_code",
    ]:
        op.drop_column("workspaces", column)
    op.drop_column("users", "running_limit")
    for table in ("volumes", "networks", "images", "engine"):
        op.drop_table(table)
