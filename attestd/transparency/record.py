"""One decision of the registry: a leaf of the log, in the one form that it has.

JSON (RFC 8259) in ASCII, members sorted, no spaces, at most `MAX_RECORD_SIZE` bytes; digests and key ids are 64
lower-case hex digits, a key id is SHA-256 over the SubjectPublicKeyInfo:

    {"at": "2026-01-31T12:00:00.000000Z", "decision": …, "v": 1, …} and for

    approve | renew | resume   "key", "result" (SHA-256 of the result document), "entry": {"tee": "tdx" | "sgx" | "snp",
                               "image", "models": [sorted, each once], "not_before", "not_after" (POSIX seconds)}
    suspend | revoke | expire  "key"
    refuse                     "result"
    model | image              "digest", "state": "approved" | "withdrawn"
    policy                     "name", "policy_version", "digest"

The first three put a key into the map, the next three take it out, the others leave the map as it is.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from json import dumps
from typing import ClassVar, Final, Literal, TypeAlias, TypeVar, assert_never

from attestd.codec import Fields, Json, load_hex, load_json
from attestd.errors import Malformed, Reason
from attestd.transparency.entry import TEE_NUMBERS, Entry, Tee, models_digest

# Room for 64 models, which is all that evidence may name, and for as much again.
MAX_RECORD_SIZE: Final = 8 * 1024

_VERSION: Final = 1
_DIGEST_SIZE: Final = 32
_MAX_SECONDS: Final = 2**32 - 1
_MAX_POLICY_VERSION: Final = 2**63 - 1
_TEES: Final[Mapping[str, Tee]] = {tee: tee for tee in TEE_NUMBERS}

_T = TypeVar("_T")

State: TypeAlias = Literal["approved", "withdrawn"]
_STATES: Final[Mapping[str, State]] = {"approved": "approved", "withdrawn": "withdrawn"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedEntry:
    """What a key was trusted as. The window is in POSIX seconds, both ends included."""

    tee: Tee
    image: bytes  # SHA-256
    models: tuple[bytes, ...]  # SHA-256, sorted, each once
    not_before: int
    not_after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decided:
    at: datetime  # aware, to the microsecond


@dataclass(frozen=True, slots=True, kw_only=True)
class _Put(_Decided):
    key: bytes
    result: bytes
    entry: RecordedEntry

    def listed(self) -> Entry:
        """Return the entry of the key in the map."""
        entry = self.entry
        return Entry(
            tee=entry.tee,
            image=entry.image,
            models=models_digest(entry.models),
            result=self.result,
            not_before=entry.not_before,
            not_after=entry.not_after,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Removed(_Decided):
    key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed(_Decided):
    digest: bytes
    state: State


class Approve(_Put):
    """A key is trusted for the first time."""

    __slots__ = ()
    decision: ClassVar = "approve"


class Renew(_Put):
    """A key is trusted on a newer result, or for another time."""

    __slots__ = ()
    decision: ClassVar = "renew"


class Resume(_Put):
    """A suspended key is trusted again."""

    __slots__ = ()
    decision: ClassVar = "resume"


class Suspend(_Removed):
    """A key is not trusted until further notice."""

    __slots__ = ()
    decision: ClassVar = "suspend"


class Revoke(_Removed):
    """A key is never trusted again."""

    __slots__ = ()
    decision: ClassVar = "revoke"


class Expire(_Removed):
    """The window of a key is over."""

    __slots__ = ()
    decision: ClassVar = "expire"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse(_Decided):
    """A key was not trusted."""

    decision: ClassVar = "refuse"
    result: bytes


class Model(_Listed):
    """A model is approved, or is not any more."""

    __slots__ = ()
    decision: ClassVar = "model"


class Image(_Listed):
    """An image is approved, or is not any more."""

    __slots__ = ()
    decision: ClassVar = "image"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy(_Decided):
    """A policy came into force."""

    decision: ClassVar = "policy"
    name: str
    policy_version: int
    digest: bytes


Record: TypeAlias = Approve | Renew | Resume | Suspend | Revoke | Expire | Refuse | Model | Image | Policy
_PUT: Final = (Approve, Renew, Resume)
_REMOVED: Final = (Suspend, Revoke, Expire)


def dump_record(record: Record) -> bytes:
    """Write a record as it stands in the log.

    Raises `Malformed` (`log.record`) where it would be too long, or its time has no zone.
    """
    if record.at.tzinfo is None:
        raise _refused("a time without a zone", "an aware time")
    at = record.at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    members = {"v": _VERSION, "at": at, "decision": record.decision, **_members(record)}
    raw = dumps(members, sort_keys=True, separators=(",", ":")).encode("ascii")
    if len(raw) > MAX_RECORD_SIZE:
        raise _refused(f"{len(raw)} bytes", f"at most {MAX_RECORD_SIZE}")
    return raw


def _members(record: Record) -> dict[str, Json]:
    match record:
        case Approve() | Renew() | Resume():
            return {"key": record.key.hex(), "result": record.result.hex(), "entry": _entry_members(record.entry)}
        case Suspend() | Revoke() | Expire():
            return {"key": record.key.hex()}
        case Refuse():
            return {"result": record.result.hex()}
        case Model() | Image():
            return {"digest": record.digest.hex(), "state": record.state}
        case Policy():
            return {"name": record.name, "policy_version": record.policy_version, "digest": record.digest.hex()}
        case _:
            assert_never(record)


def _entry_members(entry: RecordedEntry) -> dict[str, Json]:
    return {
        "tee": entry.tee,
        "image": entry.image.hex(),
        "models": [model.hex() for model in sorted(set(entry.models))],
        "not_before": entry.not_before,
        "not_after": entry.not_after,
    }


def load_record(raw: bytes) -> Record:
    """Read a record. Raises `Malformed` (`log.record`) on everything that `dump_record` would not have written."""
    try:
        if len(raw) > MAX_RECORD_SIZE:
            raise _refused(f"{len(raw)} bytes", f"at most {MAX_RECORD_SIZE}")
        fields = Fields(load_json(raw), path="record")
        load = _LOADERS.get(fields.text("decision"))
        if load is None or fields.integer("v", _VERSION) != _VERSION:
            raise _refused("an unknown decision or version", f"version {_VERSION}, one of {', '.join(_LOADERS)}")
        record = load(fields)
        if dump_record(record) != raw:
            raise _refused("another writing of a record", "ASCII, members sorted, no spaces, nothing more")
    except Malformed as error:
        raise _refused(error.found, error.wanted) from None
    return record


def _put(make: type[Approve | Renew | Resume]) -> Callable[[Fields], Record]:
    def load(fields: Fields) -> Record:
        entry = fields.fields("entry")
        return make(
            at=fields.time("at"),
            key=_digest(fields, "key"),
            result=_digest(fields, "result"),
            entry=RecordedEntry(
                tee=_one_of(entry, "tee", _TEES),
                image=_digest(entry, "image"),
                models=tuple(load_hex(text, size=_DIGEST_SIZE) for text in entry.texts("models")),
                not_before=entry.integer("not_before", _MAX_SECONDS),
                not_after=entry.integer("not_after", _MAX_SECONDS),
            ),
        )

    return load


def _removed(make: type[Suspend | Revoke | Expire]) -> Callable[[Fields], Record]:
    return lambda fields: make(at=fields.time("at"), key=_digest(fields, "key"))


def _listed(make: type[Model | Image]) -> Callable[[Fields], Record]:
    return lambda fields: make(
        at=fields.time("at"), digest=_digest(fields, "digest"), state=_one_of(fields, "state", _STATES)
    )


def _refuse(fields: Fields) -> Record:
    return Refuse(at=fields.time("at"), result=_digest(fields, "result"))


def _policy(fields: Fields) -> Record:
    return Policy(
        at=fields.time("at"),
        name=fields.text("name"),
        policy_version=fields.integer("policy_version", _MAX_POLICY_VERSION),
        digest=_digest(fields, "digest"),
    )


_LOADERS: Final[Mapping[str, Callable[[Fields], Record]]] = {
    **{make.decision: _put(make) for make in _PUT},
    **{make.decision: _removed(make) for make in _REMOVED},
    **{make.decision: _listed(make) for make in (Model, Image)},
    Refuse.decision: _refuse,
    Policy.decision: _policy,
}


def _digest(fields: Fields, name: str) -> bytes:
    return fields.hexadecimal(name, _DIGEST_SIZE)


def _one_of(fields: Fields, name: str, known: Mapping[str, _T]) -> _T:
    value = known.get(fields.text(name))
    if value is None:
        raise fields.refuse(name, f"one of {', '.join(known)}")
    return value


def _refused(found: str, wanted: str) -> Malformed:
    return Malformed(Reason.LOG_RECORD, found=found, wanted=wanted)


def changes(records: Iterable[Record]) -> dict[bytes, Entry | None]:
    """Return what records change in the map: by key id the entry that the last of them left, or None."""
    changed: dict[bytes, Entry | None] = {}
    for record in records:
        if isinstance(record, _PUT):
            changed[record.key] = record.listed()
        elif isinstance(record, _REMOVED):
            changed[record.key] = None
    return changed
