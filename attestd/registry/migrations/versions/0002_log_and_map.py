"""The log of decisions and the map of keys; what was decided before is entered as it stands."""

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

from attestd.registry.instants import from_micros
from attestd.registry.integrity import seal
from attestd.transparency import record
from attestd.transparency.merkle import leaf_hash

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_LISTED = sa.text("listed_until IS NOT NULL")
_ADD = sa.text(
    'INSERT INTO log ("index", subject, version, leaf, record) VALUES (:index, :subject, :version, :leaf, :record)'
)
_LIST = sa.text("UPDATE keys SET listed_until = valid_until WHERE id = :of_id")
# What a key is sealed over, in that order.
_COLUMNS = (
    "id, version, spki, provider, state, tee, binding, role, image, models, platform, product_line, policy_name, "
    "policy_digest, result_id, result_digest, valid_from, valid_until, registered_at, changed_at"
)


def upgrade() -> None:
    """Create the tables, and give every key a place in the map."""
    op.create_table(
        "log",
        sa.Column("index", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("subject", sa.LargeBinary(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("index", name=op.f("pk_log")),
    )
    op.create_index(op.f("ix_log_subject"), "log", ["subject"], unique=False)
    op.create_table(
        "log_tiles",
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hashes", sa.LargeBinary(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("level", "index", name=op.f("pk_log_tiles")),
    )
    op.create_table(
        "map_nodes",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("node", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_map_nodes")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "map_retired",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_map_retired")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_map_retired_epoch"), "map_retired", ["epoch"], unique=False)
    op.create_table(
        "sequenced",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("log_root", sa.LargeBinary(), nullable=False),
        sa.Column("map_root", sa.LargeBinary(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sequenced")),
    )
    op.add_column("keys", sa.Column("listed_until", sa.BigInteger(), nullable=True))
    op.create_index(
        op.f("ix_keys_listed_until"),
        "keys",
        ["listed_until"],
        unique=False,
        sqlite_where=_LISTED,
        postgresql_where=_LISTED,
    )
    for index, (subject, version, said) in enumerate(_decided()):
        raw = record.dump_record(said)
        row = {"index": index, "subject": subject, "version": version, "leaf": leaf_hash(raw), "record": raw}
        op.get_bind().execute(_ADD, row)


def _decided() -> Iterator[tuple[bytes | None, int | None, record.Record]]:
    """Yield what is in force, as if it were decided now, with the times at which it was."""
    for name, version, digest, at in _rows("SELECT name, version, digest, approved_at FROM policies ORDER BY 4, 1, 2"):
        yield None, None, record.Policy(at=from_micros(at), name=name, policy_version=version, digest=digest)
    revoked = {tuple(row) for row in _rows("SELECT kind, value FROM revocations")}
    for kind, make in (("image", record.Image), ("model", record.Model)):
        for digest, at in _rows(f"SELECT digest, approved_at FROM {kind}s ORDER BY 2, 1"):  # noqa: S608 - the two above
            state: record.State = "withdrawn" if (kind, digest.hex()) in revoked else "approved"
            yield digest, None, make(at=from_micros(at), digest=digest, state=state)
    for key in _rows(f"SELECT {_COLUMNS}, seal FROM keys WHERE state = 'active' ORDER BY changed_at, id"):  # noqa: S608
        if seal("attestd/key/v1", key[:-1]) == key.seal:  # one that was altered is trusted by nobody
            op.get_bind().execute(_LIST, {"of_id": key.id})
            yield key.id, key.version, _approval(key)


def _rows(query: str) -> Sequence[Any]:
    return op.get_bind().execute(sa.text(query)).all()


def _approval(key: sa.Row[Any]) -> record.Record:
    models = tuple(key.models[start : start + 32] for start in range(0, len(key.models), 32))
    entry = record.RecordedEntry(
        tee=key.tee,
        image=key.image,
        models=models,
        not_before=-(-key.valid_from // 1_000_000),
        not_after=key.valid_until // 1_000_000,
    )
    return record.Approve(at=from_micros(key.changed_at), key=key.id, result=key.result_digest, entry=entry)
