"""The tables. Times are microseconds since 1970 in UTC, digests are raw bytes; everything else is what it looks like.

`seal` is a SHA-256 over all other columns of its row (`integrity.seal`): a row that was changed by anything but the
functions of this package is found out when it is read. Rows of `key_history` and `audit` are only ever added.
"""

from typing import Any, ClassVar, Final

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, Index, Integer, MetaData, UniqueConstraint, text
from sqlmodel import Field, SQLModel

# Every constraint has a name, so that a later migration can speak of it on either back end.
METADATA: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# Rows that are no larger than their index entry would be live in the index itself (SQLite, "WITHOUT ROWID").
_IN_INDEX = {"sqlite_with_rowid": False}
# To SQLite, this name alone says that the column is the place of the row, and needs no index.
_ROWID: Final = BigInteger().with_variant(Integer, "sqlite")
_UNANSWERED: Final = text("consumed_at IS NULL")
_LISTED: Final = text("listed_until IS NOT NULL")


class Table(SQLModel):
    """What all tables have in common."""

    metadata = METADATA


class RegistryRow(Table, table=True):
    """The one row that says whose database this is."""

    __tablename__: ClassVar[str] = "registry"

    id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})  # 1
    registry_id: str
    created_at: int = Field(sa_type=BigInteger)
    cursor_key: bytes  # authenticates the cursors of lists
    generation: int = Field(sa_type=BigInteger)  # counts the commits that change a public answer


class ProviderRow(Table, table=True):
    """A provider."""

    __tablename__: ClassVar[str] = "providers"

    id: str = Field(primary_key=True)
    name: str
    registered_by: str
    registered_at: int = Field(sa_type=BigInteger)


class ApiKeyRow(Table, table=True):
    """An API key, without its secret."""

    __tablename__: ClassVar[str] = "api_keys"

    id: str = Field(primary_key=True)
    role: str
    provider: str | None = Field(foreign_key="providers.id", index=True)
    label: str
    secret_digest: bytes  # SHA-256; the secret has 256 random bits, so that nothing slower is needed
    issued_by: str
    issued_at: int = Field(sa_type=BigInteger)
    expires_at: int = Field(sa_type=BigInteger)
    revoked_at: int | None = Field(sa_type=BigInteger)


class ChallengeRow(Table, table=True):
    """A challenge until some time after it has expired."""

    __tablename__: ClassVar[str] = "challenges"
    __table_args__ = (
        # Those that wait for an answer, of which each provider has a bounded number. All nulls, `consumed_at` is there
        # to spare SQLite a look at the rows.
        Index(None, "provider", "consumed_at", "expires_at", sqlite_where=_UNANSWERED, postgresql_where=_UNANSWERED),
        _IN_INDEX,
    )

    value: bytes = Field(primary_key=True)
    provider: str = Field(foreign_key="providers.id")
    issued_at: int = Field(sa_type=BigInteger)
    expires_at: int = Field(sa_type=BigInteger, index=True)
    consumed_at: int | None = Field(sa_type=BigInteger)


class ResultRow(Table, table=True):
    """A result with the evidence that it judges, kept so that it can be appraised again."""

    __tablename__: ClassVar[str] = "results"
    __table_args__ = (UniqueConstraint("provider", "evidence_id"),)

    id: str = Field(primary_key=True)
    evidence_id: bytes
    provider: str = Field(foreign_key="providers.id")
    tee: str
    binding: str
    key_id: bytes
    tier: str
    policy_name: str
    policy_digest: bytes
    recorded_at: int = Field(sa_type=BigInteger)
    digest: bytes = Field(index=True)
    seal: bytes
    # Last, so that reading the columns before them does not walk over their overflow pages.
    document: bytes
    evidence: bytes


class _KeyColumns(Table):
    """What a key and each of its past versions consist of."""

    id: bytes = Field(primary_key=True)
    version: int
    spki: bytes
    provider: str = Field(foreign_key="providers.id")
    state: str  # active, suspended or revoked; the rest follows from the time
    tee: str
    binding: str
    role: str | None
    image: bytes
    models: bytes  # their digests, sorted, one after the other
    platform: bytes = Field(foreign_key="platforms.id")
    product_line: str
    policy_name: str
    policy_digest: bytes
    result_id: str = Field(foreign_key="results.id")
    result_digest: bytes
    valid_from: int = Field(sa_type=BigInteger)
    valid_until: int = Field(sa_type=BigInteger)
    registered_at: int = Field(sa_type=BigInteger)
    changed_at: int = Field(sa_type=BigInteger)
    seal: bytes


class KeyRow(_KeyColumns, table=True):
    """A key as it stands now."""

    __tablename__: ClassVar[str] = "keys"
    __table_args__ = (
        Index(None, "provider"),
        Index(None, "image"),
        # Which keys have to leave the map next.
        Index(None, "listed_until", sqlite_where=_LISTED, postgresql_where=_LISTED),
        # How many live on a platform, and which are in a state, without a look at the rows.
        Index(None, "platform", "valid_until", "state"),
        Index(None, "id", "valid_until", "state", "valid_from"),
    )

    # Not part of the key: `valid_until` while the log says that the key is in the map, else null.
    listed_until: int | None = Field(sa_type=BigInteger)


class KeyHistoryRow(_KeyColumns, table=True):
    """A key as it stood from `changed_at` on, until the next version."""

    __tablename__: ClassVar[str] = "key_history"

    id: bytes = Field(primary_key=True, foreign_key="keys.id")
    version: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})


class KeyModelRow(Table, table=True):
    """Which versions of which keys rest on a model: what `models` of the key says, the other way round."""

    __tablename__: ClassVar[str] = "key_models"
    __table_args__ = _IN_INDEX

    model: bytes = Field(primary_key=True)
    id: bytes = Field(primary_key=True, foreign_key="keys.id")
    version: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})


class PlatformRow(Table, table=True):
    """Which provider a machine belongs to, or a GPU or NVSwitch of one."""

    __tablename__: ClassVar[str] = "platforms"
    __table_args__ = _IN_INDEX

    id: bytes = Field(primary_key=True)
    provider: str = Field(foreign_key="providers.id")
    claimed_at: int = Field(sa_type=BigInteger)


class ResultDeviceRow(Table, table=True):
    """Which results rest on a GPU or NVSwitch."""

    __tablename__: ClassVar[str] = "result_devices"
    __table_args__ = _IN_INDEX

    device: bytes = Field(primary_key=True)
    result_id: str = Field(primary_key=True, foreign_key="results.id")


class ModelRow(Table, table=True):
    """An approved model."""

    __tablename__: ClassVar[str] = "models"

    digest: bytes = Field(primary_key=True)
    name: str
    version: int
    approved_by: str
    approved_at: int = Field(sa_type=BigInteger)


class ImageRow(Table, table=True):
    """An approved image."""

    __tablename__: ClassVar[str] = "images"

    digest: bytes = Field(primary_key=True)
    name: str
    roles: str  # sorted, comma between
    version: int
    approved_by: str
    approved_at: int = Field(sa_type=BigInteger)


class PolicyRow(Table, table=True):
    """Every version of every policy that was ever in force."""

    __tablename__: ClassVar[str] = "policies"

    name: str = Field(primary_key=True)
    version: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    digest: bytes
    text: bytes
    approved_by: str
    approved_at: int = Field(sa_type=BigInteger)


class RevocationRow(Table, table=True):
    """What was revoked."""

    __tablename__: ClassVar[str] = "revocations"

    kind: str = Field(primary_key=True)
    value: str = Field(primary_key=True)
    reason: str
    revoked_by: str
    revoked_at: int = Field(sa_type=BigInteger)
    keys: int


class AuditRow(Table, table=True):
    """The audit trail."""

    __tablename__: ClassVar[str] = "audit"

    seq: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    at: int = Field(sa_type=BigInteger)
    actor: str
    action: str
    subject: str
    detail: str
    previous: bytes
    hash: bytes


class HighWaterRow(Table, table=True):
    """The newest signed document that was seen of each kind."""

    __tablename__: ClassVar[str] = "high_water"

    kind: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    value: bytes  # 20 bytes, big-endian, so that bytes sort as numbers do
    seen_at: int = Field(sa_type=BigInteger)


class LogRow(Table, table=True):
    """A leaf of the log: one decision. Only ever added, by the transaction that decides."""

    __tablename__: ClassVar[str] = "log"

    index: int = Field(primary_key=True, sa_type=_ROWID, sa_column_kwargs={"autoincrement": False})  # from 0
    subject: bytes | None = Field(index=True)  # a key id, the digest of a refused result, of a model or of an image
    version: int | None  # of the key that the record speaks of
    leaf: bytes  # RFC 6962 hash of the record
    record: bytes


class LogTileRow(Table, table=True):
    """A tile of the log's tree (C2SP tlog-tiles), as wide as the sequenced log makes it: it grows to 256 hashes."""

    __tablename__: ClassVar[str] = "log_tiles"

    level: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    index: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    hashes: bytes
    seal: bytes


class MapNodeRow(Table, table=True):
    """A node of the map by its hash, in the form of `attestd.transparency.keymap`, which the hash is computed of."""

    __tablename__: ClassVar[str] = "map_nodes"
    __table_args__ = _IN_INDEX

    hash: bytes = Field(primary_key=True)
    node: bytes


class MapRetiredRow(Table, table=True):
    """A node that is in no map from an epoch on."""

    __tablename__: ClassVar[str] = "map_retired"
    __table_args__ = _IN_INDEX

    hash: bytes = Field(primary_key=True)
    epoch: int = Field(sa_type=BigInteger, index=True)


class SequencedRow(Table, table=True):
    """The one row that says how far the log went into tiles and map."""

    __tablename__: ClassVar[str] = "sequenced"

    id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})  # 1
    epoch: int = Field(sa_type=BigInteger)
    size: int = Field(sa_type=BigInteger)
    log_root: bytes
    map_root: bytes
    seal: bytes


class EpochRow(Table, table=True):
    """A candidate for one epoch: a checkpoint that may be the next one on chain, and what became of it."""

    __tablename__: ClassVar[str] = "epochs"
    __table_args__ = (Index(None, "state", "number"),)

    number: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    candidate: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    tree_size: int = Field(sa_type=BigInteger)
    log_root: bytes
    map_root: bytes
    policy_digest: bytes
    issued_at: int = Field(sa_type=BigInteger)  # POSIX seconds, as on chain
    valid_until: int = Field(sa_type=BigInteger)
    note: bytes  # the log's signed note of the same size and root
    built_at: int = Field(sa_type=BigInteger)
    seal: bytes  # over everything above
    state: str  # built, signed, confirmed or lapsed
    block: int | None  # seqno and time of the block in which it was seen, where it is confirmed
    block_utime: int | None = Field(sa_type=BigInteger)
    lt: int | None = Field(sa_type=BigInteger)  # of the transaction that put it there
    hash: bytes | None


class EpochSignatureRow(Table, table=True):
    """A verifier's signature over a candidate."""

    __tablename__: ClassVar[str] = "epoch_signatures"
    __table_args__ = (
        ForeignKeyConstraint(["number", "candidate"], ["epochs.number", "epochs.candidate"], "fk_epoch_signatures"),
    )

    number: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    candidate: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    verifier: bytes = Field(primary_key=True)  # Ed25519 public key
    signature: bytes


class MessageRow(Table, table=True):
    """An external message to the wallet, written down before it is sent."""

    __tablename__: ClassVar[str] = "messages"
    __table_args__ = (
        ForeignKeyConstraint(["number", "candidate"], ["epochs.number", "epochs.candidate"], "fk_messages"),
        Index(None, "number", "candidate"),
        Index(None, "state"),
        Index(None, "created_at"),
    )

    hash: bytes = Field(primary_key=True)
    number: int = Field(sa_type=BigInteger)
    candidate: int
    wallet_seqno: int = Field(sa_type=BigInteger)
    since: int = Field(sa_type=BigInteger)  # logical time of the wallet's last transaction before it
    valid_until: int = Field(sa_type=BigInteger)  # POSIX seconds
    boc: bytes
    created_at: int = Field(sa_type=BigInteger)
    state: str  # waiting, landed, delivered, refused, taken or lapsed
    cost: int = Field(sa_type=BigInteger)  # nanoton: the most that it may cost, then what it did cost
    outcome: str  # what the chain said to it, for people


class LeaseRow(Table, table=True):
    """Who leads, of all processes on one database."""

    __tablename__: ClassVar[str] = "leases"

    name: str = Field(primary_key=True)
    holder: str
    token: int = Field(sa_type=BigInteger)  # grows with every change of hands
    expires_at: int = Field(sa_type=BigInteger)


def columns(table: type[Table], *, without: tuple[str, ...] = ()) -> tuple[Column[Any], ...]:
    """Return the columns of a table in the order in which they are declared."""
    own = METADATA.tables[str(table.__tablename__)].columns
    return tuple(own[name] for name in table.model_fields if name not in without)
