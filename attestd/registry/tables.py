"""The tables. Times are microseconds since 1970 in UTC, digests are raw bytes; everything else is what it looks like.

`seal` is a SHA-256 over all other columns of its row (`integrity.seal`): a row that was changed by anything but the
functions of this package is found out when it is read. Rows of `key_history` and `audit` are only ever added.
"""

from typing import Any, ClassVar, Final

from sqlalchemy import BigInteger, Column, Index, MetaData, UniqueConstraint, text
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
_UNANSWERED: Final = text("consumed_at IS NULL")


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
    digest: bytes
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
        # How many live on a platform, and which are in a state, without a look at the rows.
        Index(None, "platform", "valid_until", "state"),
        Index(None, "id", "valid_until", "state", "valid_from"),
    )


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


def columns(table: type[Table], *, without: tuple[str, ...] = ()) -> tuple[Column[Any], ...]:
    """Return the columns of a table in the order in which they are declared."""
    own = METADATA.tables[str(table.__tablename__)].columns
    return tuple(own[name] for name in table.model_fields if name not in without)
