"""codes beside links, refreshed sessions, tokens for programs, invitations, shares, and the audit trail."""

import sqlalchemy as sa

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


TIME = sa.DateTime(timezone=True)

# A second line behind the rights of roles: nobody changes a row, and only pruning removes one, never a young one.
GUARD = """
CREATE FUNCTION {schema}.guard_audit() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_OP = 'DELETE' AND current_setting('spawner.pruning', true) = 'on' AND OLD.at < now() - interval '30 days' THEN
    RETURN OLD;
  END IF;
  RAISE EXCEPTION 'the audit trail is append-only' USING ERRCODE = 'insufficient_privilege';
END $$
"""
GUARDED = """
CREATE TRIGGER guard_audit BEFORE UPDATE OR DELETE ON {schema}.audit
FOR EACH ROW EXECUTE FUNCTION {schema}.guard_audit()
"""
# Runs as the owner for whoever may call it. A call removes so many rows at most, so that none takes long.
PRUNE = """
CREATE FUNCTION {schema}.prune_audit(days integer) RETURNS integer
LANGUAGE plpgsql STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  removed integer;
BEGIN
  PERFORM set_config('spawner.pruning', 'on', true);
  DELETE FROM {schema}.audit WHERE id IN (
    SELECT id FROM {schema}.audit WHERE at < now() - make_interval(days => greatest(days, 30)) ORDER BY at LIMIT 10000
  );
  GET DIAGNOSTICS removed = ROW_COUNT;
  PERFORM set_config('spawner.pruning', 'off', true);
  RETURN removed;
END $$
"""


def _allow_purposes(*purposes: str) -> None:
    op.drop_constraint(op.f("ck_link_requests_link_purpose"), "link_requests", type_="check")
    listed = ", ".join(f"'{purpose}'" for purpose in purposes)
    op.create_check_constraint(op.f("ck_link_requests_link_purpose"), "link_requests", f"purpose IN ({listed})")


def upgrade() -> None:
    _allow_purposes("signup", "login", "invite")
    _create_audit()
    _create_tokens()
    _create_shares()
    _extend_sign_in()
    op.create_index("ix_jobs_newest", "jobs", ["created_at", "id"], unique=False)


def _create_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("actor", sa.String(length=254), nullable=False),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("target_kind", sa.String(length=20), nullable=False),
        sa.Column("target", sa.String(length=254), nullable=False),
        sa.Column("outcome", sa.String(length=40), nullable=False),
        sa.Column("address", sa.String(length=45), nullable=False),
        sa.Column("request_id", sa.String(length=32), nullable=False),
        sa.Column("detail", sa.String(length=500), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index("ix_audit_actor", "audit", ["actor_id", "id"], unique=False)
    op.create_index(op.f("ix_audit_at"), "audit", ["at"], unique=False)
    op.create_index("ix_audit_target", "audit", ["target_kind", "target", "id"], unique=False)
    # Named in full: the functions look nothing up on a path that somebody else may set.
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    for statement in (GUARD, GUARDED, PRUNE):
        op.execute(statement.format(schema=schema))
    op.execute(f"REVOKE ALL ON FUNCTION {schema}.prune_audit(integer) FROM PUBLIC")


def _create_tokens() -> None:
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.String(length=20)), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("used_at", TIME, nullable=True),
        sa.Column("revoked_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_api_tokens_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_tokens")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_api_tokens_token_hash")),
    )
    op.create_index(op.f("ix_api_tokens_user_id"), "api_tokens", ["user_id"], unique=False)
    op.create_table(
        "invitations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.Column("invited_by", sa.Uuid(), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("accepted_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["invited_by"], ["users.id"], name=op.f("fk_invitations_invited_by_users"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitations")),
        sa.UniqueConstraint("email", name=op.f("uq_invitations_email")),
    )


def _create_shares() -> None:
    op.create_table(
        "share_links",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("revoked_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_share_links_workspace_id_workspaces"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_share_links")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_share_links_token_hash")),
    )
    op.create_index(op.f("ix_share_links_workspace_id"), "share_links", ["workspace_id"], unique=False)
    op.create_table(
        "shares",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("link_id", sa.Uuid(), nullable=True),
        sa.Column("reason", sa.String(length=300), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=True),
        sa.Column("revoked_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["link_id"], ["share_links.id"], name=op.f("fk_shares_link_id_share_links"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_shares_user_id_users"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_shares_workspace_id_workspaces"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shares")),
    )
    op.create_index(op.f("ix_shares_email"), "shares", ["email"], unique=False)
    op.create_index(op.f("ix_shares_link_id"), "shares", ["link_id"], unique=False)
    op.create_index(op.f("ix_shares_user_id"), "shares", ["user_id"], unique=False)
    op.create_index(op.f("ix_shares_workspace_id"), "shares", ["workspace_id"], unique=False)
    op.create_index(
        "uq_shares_live",
        "shares",
        ["workspace_id", "email", "link_id"],
        unique=True,
        postgresql_where=sa.text("revoked_at IS NULL AND reason IS NULL"),
        postgresql_nulls_not_distinct=True,
    )


def _extend_sign_in() -> None:
    op.add_column("link_requests", sa.Column("browser_hash", sa.LargeBinary(), nullable=True))
    op.add_column("link_requests", sa.Column("code_tries", sa.Integer(), nullable=False, server_default="0"))
    op.create_index(op.f("ix_link_requests_browser_hash"), "link_requests", ["browser_hash"], unique=False)
    op.add_column("magic_links", sa.Column("request_id", sa.Uuid(), nullable=True))
    op.add_column("magic_links", sa.Column("browser_hash", sa.LargeBinary(), nullable=True))
    op.add_column("magic_links", sa.Column("code_hash", sa.LargeBinary(), nullable=True))
    op.create_index(op.f("ix_magic_links_request_id"), "magic_links", ["request_id"], unique=False)
    op.create_foreign_key(
        op.f("fk_magic_links_request_id_link_requests"),
        "magic_links",
        "link_requests",
        ["request_id"],
        ["id"],
        ondelete="SET NULL",
    )
    op.add_column("sessions", sa.Column("refresh_hash", sa.LargeBinary(), nullable=True))
    op.add_column("sessions", sa.Column("spent_refresh_hash", sa.LargeBinary(), nullable=True))
    op.add_column("sessions", sa.Column("refreshed_at", TIME, nullable=True))
    op.add_column("sessions", sa.Column("seen_at", TIME, nullable=False, server_default=sa.func.now()))
    # New rows are given their values by the code.
    op.alter_column("link_requests", "code_tries", server_default=None)
    op.alter_column("sessions", "seen_at", server_default=None)
    op.create_unique_constraint(op.f("uq_sessions_refresh_hash"), "sessions", ["refresh_hash"])
    op.create_unique_constraint(op.f("uq_sessions_spent_refresh_hash"), "sessions", ["spent_refresh_hash"])


def downgrade() -> None:
    op.drop_index("ix_jobs_newest", table_name="jobs")
    op.execute("DELETE FROM link_requests WHERE purpose = 'invite'")
    _allow_purposes("signup", "login")
    op.drop_constraint(op.f("uq_sessions_spent_refresh_hash"), "sessions", type_="unique")
    op.drop_constraint(op.f("uq_sessions_refresh_hash"), "sessions", type_="unique")
    op.drop_column("sessions", "seen_at")
    op.drop_column("sessions", "refreshed_at")
    op.drop_column("sessions", "spent_refresh_hash")
    op.drop_column("sessions", "refresh_hash")
    op.drop_constraint(op.f("fk_magic_links_request_id_link_requests"), "magic_links", type_="foreignkey")
    op.drop_index(op.f("ix_magic_links_request_id"), table_name="magic_links")
    op.drop_column("magic_links", "code_hash")
    op.drop_column("magic_links", "browser_hash")
    op.drop_column("magic_links", "request_id")
    op.drop_index(op.f("ix_link_requests_browser_hash"), table_name="link_requests")
    op.drop_column("link_requests", "code_tries")
    op.drop_column("link_requests", "browser_hash")
    op.drop_index("uq_shares_live", table_name="shares")
    op.drop_index(op.f("ix_shares_workspace_id"), table_name="shares")
    op.drop_index(op.f("ix_shares_user_id"), table_name="shares")
    op.drop_index(op.f("ix_shares_link_id"), table_name="shares")
    op.drop_index(op.f("ix_shares_email"), table_name="shares")
    op.drop_table("shares")
    op.drop_index(op.f("ix_share_links_workspace_id"), table_name="share_links")
    op.drop_table("share_links")
    op.drop_table("invitations")
    op.drop_index(op.f("ix_api_tokens_user_id"), table_name="api_tokens")
    op.drop_table("api_tokens")
    op.drop_index("ix_audit_target", table_name="audit")
    op.drop_index(op.f("ix_audit_at"), table_name="audit")
    op.drop_index("ix_audit_actor", table_name="audit")
    op.drop_table("audit")
    op.execute("DROP FUNCTION prune_audit(integer)")
    op.execute("DROP FUNCTION guard_audit()")
