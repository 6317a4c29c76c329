"""Units and memberships, people, grants, enrolment tokens, clones, certificates, audit."""

import time

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "api_token",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("label", sa.String(200), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(200), nullable=False),
        sa.Column("expires", sa.BigInteger()),
        sa.Column("last_used", sa.BigInteger(), nullable=False),
        sa.Column("revoked", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("hash"),
    )
    op.create_table(
        "audit",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("t", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("school", sa.String(64), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("ix_audit_action", "audit", ["action"])
    op.create_index("ix_audit_school", "audit", ["school"])
    op.create_index("ix_audit_subject", "audit", ["subject"])

    _forbid_to_change_audit()

    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "person",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("login", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("password_hash", sa.String(200), nullable=False),
        sa.Column("totp_secret", sa.String(64), nullable=False),
        sa.Column("totp_last", sa.BigInteger(), nullable=False),
        sa.Column("issuer", sa.String(200), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("login"),
    )
    op.create_index("person_oidc", "person", ["issuer", "subject"])

    op.create_table(
        "revoked_certificate",
        sa.Column("serial", sa.String(40), nullable=False),
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("revoked", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("serial"),
    )
    op.create_index("ix_revoked_certificate_device", "revoked_certificate", ["device"])

    op.create_table(
        "unit",
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("parent", sa.String(64)),
        sa.ForeignKeyConstraint(["parent"], ["unit.key"]),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("ix_unit_parent", "unit", ["parent"])

    op.create_table(
        "grant_",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("person", SERIAL),
        sa.Column("token", SERIAL),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("unit", sa.String(64)),
        sa.Column("school", sa.String(64)),
        sa.Column("source", sa.String(8), nullable=False),
        sa.CheckConstraint("(person is null) <> (token is null)", name="somebody"),
        sa.CheckConstraint("unit is null or school is null", name="one_place"),
        sa.ForeignKeyConstraint(["person"], ["person.id"]),
        sa.ForeignKeyConstraint(["school"], ["school.key"]),
        sa.ForeignKeyConstraint(["token"], ["api_token.id"]),
        sa.ForeignKeyConstraint(["unit"], ["unit.key"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_grant__person", "grant_", ["person"])
    op.create_index("ix_grant__token", "grant_", ["token"])

    op.create_table(
        "link",
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("person", SERIAL, nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["person"], ["person.id"]),
        sa.PrimaryKeyConstraint("hash"),
    )
    op.create_index("ix_link_person", "link", ["person"])

    op.create_table(
        "login",
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("person", SERIAL, nullable=False),
        sa.Column("stage", sa.String(8), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.Column("agent", sa.String(200), nullable=False),
        sa.ForeignKeyConstraint(["person"], ["person.id"]),
        sa.PrimaryKeyConstraint("hash"),
    )
    op.create_index("ix_login_expires", "login", ["expires"])
    op.create_index("ix_login_person", "login", ["person"])

    op.create_table(
        "membership",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("school", sa.String(64), nullable=False),
        sa.Column("unit", sa.String(64), nullable=False),
        sa.Column("valid_from", sa.String(10), nullable=False),
        sa.Column("valid_to", sa.String(10), nullable=False),
        sa.ForeignKeyConstraint(["school"], ["school.key"]),
        sa.ForeignKeyConstraint(["unit"], ["unit.key"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("school", "unit", "valid_from"),
    )
    op.create_index("ix_membership_school", "membership", ["school"])
    op.create_index("ix_membership_unit", "membership", ["unit"])

    op.create_table(
        "enrolment_token",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("school", sa.String(64), nullable=False),
        sa.Column("room", sa.String(64)),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("label", sa.String(200), nullable=False),
        sa.Column("uses", sa.Integer(), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.Column("revoked", sa.Boolean(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(200), nullable=False),
        sa.ForeignKeyConstraint(["room"], ["room.key"]),
        sa.ForeignKeyConstraint(["school"], ["school.key"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("hash"),
    )
    op.create_index("ix_enrolment_token_school", "enrolment_token", ["school"])

    _keep_tokens()
    op.drop_table("token")
    with op.batch_alter_table("device") as table:
        table.add_column(sa.Column("asset_code", sa.String(64), nullable=False, server_default=""))
        table.add_column(sa.Column("smbios_uuid", sa.String(36), nullable=False, server_default=""))
        table.add_column(sa.Column("macs", sa.String(300), nullable=False, server_default=""))
        table.add_column(sa.Column("hardware", sa.String(16), nullable=False, server_default=""))
        table.add_column(sa.Column("enrolled", sa.BigInteger(), nullable=False, server_default="0"))
        table.add_column(sa.Column("certificate", sa.String(40), nullable=False, server_default=""))
        table.add_column(sa.Column("cloned_from", sa.String(64), nullable=False, server_default=""))
        table.add_column(sa.Column("rekey_until", sa.BigInteger(), nullable=False, server_default="0"))
        table.add_column(sa.Column("rekey_uses", sa.Integer(), nullable=False, server_default="0"))
        table.add_column(sa.Column("rekey_hash", sa.String(128), nullable=False, server_default=""))
        table.alter_column("room", existing_type=sa.VARCHAR(length=64), nullable=True)
        table.alter_column(
            "secret_hash", existing_type=sa.VARCHAR(length=64), type_=sa.String(128), existing_nullable=False
        )
        table.create_index("ix_device_smbios_uuid", ["smbios_uuid"])

    with op.batch_alter_table("school") as table:
        table.add_column(sa.Column("code", sa.String(64), nullable=False, server_default=""))
        table.add_column(sa.Column("level", sa.String(16), nullable=False, server_default=""))
        table.add_column(sa.Column("address", sa.String(300), nullable=False, server_default=""))
        table.add_column(sa.Column("latitude", sa.Double()))
        table.add_column(sa.Column("longitude", sa.Double()))
        table.add_column(sa.Column("isp", sa.String(64), nullable=False, server_default=""))
        table.add_column(sa.Column("merged_into", sa.String(64)))

    op.create_table(
        "sighting",
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("hardware", sa.String(16), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["device.id"]),
        sa.PrimaryKeyConstraint("device", "hardware"),
    )


def _keep_tokens() -> None:
    """Programs keep their tokens, with the rights they had: all. Sessions and sign-in links had an end anyway."""
    connection, now = op.get_bind(), int(time.time() * 1000)
    columns = "hash, label, created, created_by, expires, last_used, revoked"
    made = sa.text(
        f"insert into api_token ({columns}) select hash, label, :now, 'system', expires, 0, :no from token"
        " where purpose = 'api'"
    )
    connection.execute(made, {"now": now, "no": False})
    granted = "insert into grant_ (token, role, source) select id, 'administrator', 'local' from api_token"
    connection.execute(sa.text(granted))
    connection.execute(sa.text("insert into audit_head (id, seq, hash) values (1, 0, :start)"), {"start": "0" * 64})


def _forbid_to_change_audit() -> None:
    """A mistake of ours or a careless hand can't alter history; who may drop the triggers breaks the chain."""
    said = "audit rows are never changed or deleted"
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("update", "delete"):
            op.execute(
                f"create trigger audit_no_{verb} before {verb} on audit begin select raise(abort, '{said}'); end"
            )
        return
    op.execute(
        "create function audit_is_append_only() returns trigger language plpgsql as"
        f" $$ begin raise exception using errcode = 'restrict_violation', message = '{said}'; end $$"
    )
    op.execute(
        "create trigger audit_no_change before update or delete or truncate on audit"
        " for each statement execute function audit_is_append_only()"
    )
