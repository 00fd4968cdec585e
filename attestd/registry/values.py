"""What the registry takes and gives: frozen values, never rows.

Times are aware datetimes in UTC with microseconds, digests and key ids are raw bytes (SHA-256, 32 bytes), documents are
the bytes that were recorded.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar

from attestd.result import Tier

T = TypeVar("T")


class Role(StrEnum):
    """What the holder of an API key may do."""

    PROVIDER = "provider"
    AUDITOR = "auditor"
    ADMIN = "admin"


class KeyState(StrEnum):
    """Where a key is in its life, worst first: the first that applies is the one that is shown."""

    REVOKED = "revoked"  # for good
    EXPIRED = "expired"  # `valid_until` has passed
    SUSPENDED = "suspended"  # by an administrator, until resumed
    PENDING = "pending"  # `valid_from` is still ahead
    ACTIVE = "active"  # trusted now


class RevocationKind(StrEnum):
    """What can be revoked; every key that rests on it falls at once, and none comes back."""

    KEY = "key"
    PLATFORM = "platform"
    IMAGE = "image"
    MODEL = "model"
    PROVIDER = "provider"
    PRODUCT_LINE = "product_line"


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of a list, and the cursor of what follows; null at the end."""

    items: tuple[T, ...]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """Who runs confidential machines and registers their keys."""

    id: str
    name: str
    registered_by: str
    registered_at: datetime
    revoked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """What is known of an API key; never its secret."""

    id: str
    role: Role
    provider: str | None  # set exactly where the role is provider
    label: str
    issued_by: str
    issued_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class IssuedApiKey:
    """A new API key with its token, which exists nowhere else from now on."""

    api_key: ApiKey
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a token stands for."""

    api_key_id: str
    role: Role
    provider: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """What evidence must answer: issued to one provider, used once."""

    value: bytes  # 32 random bytes
    provider: str
    issued_at: datetime
    expires_at: datetime
    consumed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """The key that an affirming result registers."""

    spki: bytes  # SubjectPublicKeyInfo, DER
    role: str | None  # worker or proxy where the binding has roles
    image: bytes
    models: tuple[bytes, ...]
    platform: bytes  # SHA-256 that stands for one machine
    devices: tuple[bytes, ...] = ()  # likewise for each GPU and NVSwitch of it, each once
    product_line: str
    valid_from: datetime
    valid_until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewResult:
    """A result of authentic evidence, to be recorded. `key` is given exactly where the tier is affirming."""

    id: str
    evidence_id: bytes
    provider: str
    challenge: bytes
    tee: str
    binding: str
    key_id: bytes
    tier: Tier
    policy_name: str
    policy_digest: bytes
    document: bytes
    evidence: bytes
    key: NewKey | None

    def __post_init__(self) -> None:
        """Hold that nothing but an affirming result registers a key."""
        if (self.key is not None) != (self.tier is Tier.AFFIRMING):
            message = f"a result that is {self.tier} {'with' if self.key else 'without'} a key to register"
            raise ValueError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A recorded result."""

    id: str
    evidence_id: bytes
    provider: str
    tee: str
    binding: str
    key_id: bytes
    tier: Tier
    policy_name: str
    policy_digest: bytes
    recorded_at: datetime
    document: bytes
    digest: bytes  # SHA-256 of the document


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A registered key as of one time."""

    id: bytes
    spki: bytes
    provider: str
    tee: str
    binding: str
    role: str | None
    image: bytes
    models: tuple[bytes, ...]
    platform: bytes  # not for public answers: it tells machines apart
    product_line: str
    policy_name: str
    policy_digest: bytes
    result_id: str
    result_digest: bytes
    valid_from: datetime
    valid_until: datetime  # the last instant at which the key is trusted
    registered_at: datetime
    changed_at: datetime
    version: int
    decided: KeyState  # active, suspended or revoked
    state: KeyState  # what follows from that at the time of asking


@dataclass(frozen=True, slots=True)
class Recorded:
    """What recording led to; `created` is false where the same evidence was recorded before."""

    result: Result
    created: bool
    key: Key | None
    index: int | None = None  # where the log says it; null where it was said before


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFilters:
    """Which keys to list; null means any."""

    tee: str | None = None
    image: bytes | None = None
    model: bytes | None = None
    provider: str | None = None
    binding: str | None = None
    state: KeyState | None = None
    published: bool | None = None  # whether the chain has what was decided last


@dataclass(frozen=True, slots=True)
class KeyPage(Page[Key]):
    """Some keys; `damaged` counts the rows left out because they are not what was recorded."""

    damaged: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model that enclaves may serve."""

    digest: bytes
    name: str
    version: int
    approved_by: str
    approved_at: datetime
    revoked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A measured image that enclaves may run."""

    digest: bytes
    name: str
    roles: tuple[str, ...]  # worker, proxy
    version: int
    approved_by: str
    approved_at: datetime
    revoked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One version of an appraisal policy, as its author wrote it."""

    name: str
    version: int
    digest: bytes  # SHA-256 of the text
    text: bytes
    approved_by: str
    approved_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """What was revoked, by whom, and how many keys fell with it."""

    kind: RevocationKind
    value: str
    reason: str
    revoked_by: str
    revoked_at: datetime
    keys: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One act of an administrator or of the service itself."""

    seq: int  # from 1, without gaps
    at: datetime
    actor: str
    action: str
    subject: str
    detail: str  # JSON, members sorted
    previous: bytes  # the hash of the entry before; zeros before the first
    hash: bytes


@dataclass(frozen=True, slots=True)
class AuditHead:
    """How far the audit trail goes, and the hash that stands for all of it."""

    seq: int
    hash: bytes


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """How new a signed document is: an evaluation number, a CRL number, an issue date as POSIX seconds."""

    kind: str
    id: str
    value: int  # 0 to 2^160 - 1, the range of a CRL number (RFC 5280, 5.2.3)
