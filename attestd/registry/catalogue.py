"""What administrators approve: models, images and policies. Every change is a new version and an audit entry."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Final, Generic, TypeVar

from sqlalchemy import BindParameter, bindparam, func, insert, select, tuple_, update
from sqlmodel import col

from attestd.codec import Json
from attestd.errors import Reason, RequestRefused
from attestd.registry import audit, decisions, log, revocations
from attestd.registry.database import Row, Statement, Transaction
from attestd.registry.instants import from_micros, to_micros
from attestd.registry.integrity import Field, damaged, intact
from attestd.registry.pages import Listing
from attestd.registry.tables import ImageRow, ModelRow, PolicyRow, columns
from attestd.registry.values import Image, Model, Page, Policy, RevocationKind

A = TypeVar("A", Model, Image)

_POLICY: Final = columns(PolicyRow)

_IMAGE_CHANGES: Final = Statement(select(func.coalesce(func.sum(col(ImageRow.version) - 1), 0)))

_NEWEST: Final = select(col(PolicyRow.name), func.max(col(PolicyRow.version))).group_by(col(PolicyRow.name))
_IN_FORCE: Final = Statement(
    select(*_POLICY).where(col(PolicyRow.name) == bindparam("of_name")).order_by(col(PolicyRow.version).desc()).limit(1)
)
_DIGEST_IN_FORCE: Final = Statement(
    select(col(PolicyRow.digest))
    .where(col(PolicyRow.name) == bindparam("of_name"))
    .order_by(col(PolicyRow.version).desc())
    .limit(1)
)
_DIGESTS_IN_FORCE: Final = Statement(
    select(col(PolicyRow.name), col(PolicyRow.digest))
    .where(tuple_(col(PolicyRow.name), col(PolicyRow.version)).in_(_NEWEST))
    .order_by(col(PolicyRow.name))
)
_LIST_POLICIES: Final = Statement(
    select(*_POLICY)
    .where(tuple_(col(PolicyRow.name), col(PolicyRow.version)).in_(_NEWEST))
    .where(col(PolicyRow.name) > bindparam("after"))
    .order_by(col(PolicyRow.name))
    .limit(bindparam("most"))
)
_INSERT_POLICY: Final = Statement(insert(PolicyRow))


@intact("a model")
def _model(row: Row) -> Model:
    digest, name, version, approved_by, approved_at = row
    return Model(
        digest=digest,
        name=name,
        version=version,
        approved_by=approved_by,
        approved_at=from_micros(approved_at),
        revoked=False,
    )


@intact("an image")
def _image(row: Row) -> Image:
    digest, name, roles, version, approved_by, approved_at = row
    return Image(
        digest=digest,
        name=name,
        roles=tuple(roles.split(",")),
        version=version,
        approved_by=approved_by,
        approved_at=from_micros(approved_at),
        revoked=False,
    )


@intact("a policy")
def _policy(row: Row) -> Policy:
    name, version, digest, text, approved_by, approved_at = row
    if sha256(text).digest() != digest:
        raise damaged("a policy")
    return Policy(
        name=name,
        version=version,
        digest=digest,
        text=text,
        approved_by=approved_by,
        approved_at=from_micros(approved_at),
    )


@dataclass(frozen=True, slots=True)
class _Shelf(Generic[A]):
    """What is approved by its digest: models or images."""

    kind: RevocationKind
    find: Statement
    insert: Statement
    update: Statement
    listing: Listing[A]


def _shelf(kind: RevocationKind, table: type[ModelRow] | type[ImageRow], entry: Callable[[Row], A]) -> _Shelf[A]:
    rows, digest = select(*columns(table)), col(table.digest)
    page = rows.where(digest > bindparam("after")).order_by(digest).limit(bindparam("most"))
    changed: dict[str, BindParameter[Field]] = {
        name: bindparam(name) for name in table.model_fields if name != "digest"
    }
    return _Shelf(
        kind,
        find=Statement(rows.where(digest == bindparam("digest"))),
        insert=Statement(insert(table)),
        update=Statement(update(table).where(digest == bindparam("digest")).values(changed)),
        listing=Listing(str(table.__tablename__), Statement(page), b"", entry),
    )


_MODELS: Final = _shelf(RevocationKind.MODEL, ModelRow, _model)
_IMAGES: Final = _shelf(RevocationKind.IMAGE, ImageRow, _image)
_POLICIES: Final = Listing("policies", _LIST_POLICIES, "", _policy)


def approve_model(
    transaction: Transaction, digest: bytes, *, name: str, expected_version: int | None = None, by: str, at: datetime
) -> Model:
    """Approve a model, or change what is said of it; the same again changes nothing.

    Raises `RequestRefused` (`request.version_conflict`) where it is not at the version that the caller expects;
    0 expects that there is none.
    """
    return _approve(transaction, _MODELS, digest, {"name": name}, expected_version, by=by, at=at)


def find_model(transaction: Transaction, digest: bytes) -> Model | None:
    """Return a model that was approved."""
    return _find(transaction, _MODELS, digest)


def list_models(transaction: Transaction, *, limit: int = 100, cursor: str | None = None) -> Page[Model]:
    """List the models by digest. Raises `RequestRefused` (`request.malformed`) for a bad limit or cursor."""
    return _list(transaction, _MODELS, limit, cursor)


def approve_image(
    transaction: Transaction,
    digest: bytes,
    *,
    name: str,
    roles: tuple[str, ...],
    expected_version: int | None = None,
    by: str,
    at: datetime,
) -> Image:
    """Approve an image for at least one role, or change what is said of it. Raises as `approve_model` does."""
    said: dict[str, Json] = {"name": name, "roles": [*sorted(set(roles))]}
    return _approve(transaction, _IMAGES, digest, said, expected_version, by=by, at=at)


def find_image(transaction: Transaction, digest: bytes) -> Image | None:
    """Return an image that was approved."""
    return _find(transaction, _IMAGES, digest)


def list_images(transaction: Transaction, *, limit: int = 100, cursor: str | None = None) -> Page[Image]:
    """List the images by digest. Raises `RequestRefused` (`request.malformed`) for a bad limit or cursor."""
    return _list(transaction, _IMAGES, limit, cursor)


def image_changes(transaction: Transaction) -> int:
    """Return how often an image that was approved has been approved otherwise since: a key may have lost its role."""
    return int(transaction.all(_IMAGE_CHANGES)[0][0])


def approve_policy(transaction: Transaction, name: str, version: int, text: bytes, *, by: str, at: datetime) -> Policy:
    """Put a version of a policy in force; the same again changes nothing.

    Raises `RequestRefused` (`policy.rollback`) for a lower version than the one in force, or the same with another
    text: what keys rest on is never replaced silently (attacks.md, P12).
    """
    known = find_policy(transaction, name)
    if known is not None and version <= known.version:
        if (version, text) == (known.version, known.text):
            return known
        raise RequestRefused(
            Reason.POLICY_ROLLBACK, found=f"version {version}", wanted=f"a version above {known.version}"
        )
    digest = sha256(text).digest()
    transaction.run(
        _INSERT_POLICY,
        name=name,
        version=version,
        digest=digest,
        text=text,
        approved_by=by,
        approved_at=to_micros(at),
    )
    log.append(transaction, decisions.put_in_force(name, version, digest, at))
    _note(transaction, "policy.approve", name, {"version": version, "digest": digest.hex()}, by=by, at=at)
    return Policy(name=name, version=version, digest=digest, text=text, approved_by=by, approved_at=at)


def find_policy(transaction: Transaction, name: str) -> Policy | None:
    """Return the version of a policy that is in force.

    Raises `Unavailable` (`registry.integrity`) where its text is not what was approved.
    """
    row = transaction.one(_IN_FORCE, of_name=name)
    return _policy(row) if row else None


def policy_digest(transaction: Transaction, name: str) -> bytes | None:
    """Return the digest alone of the version of a policy that is in force, if there is one: for who has its text."""
    row = transaction.one(_DIGEST_IN_FORCE, of_name=name)
    return row[0] if row else None


def policies_digest(transaction: Transaction) -> bytes:
    """Return what stands for all policies in force: SHA-256 over name, a zero byte and digest of each, by name."""
    return digest_of_policies(map(tuple, transaction.all(_DIGESTS_IN_FORCE)))


def digest_of_policies(digests: Iterable[tuple[str, bytes]]) -> bytes:
    """Return the same for policies of these names and digests."""
    return sha256(b"".join(name.encode() + b"\0" + digest for name, digest in sorted(digests))).digest()


def list_policies(transaction: Transaction, *, limit: int = 100, cursor: str | None = None) -> Page[Policy]:
    """List the policies in force by name. Raises as `find_policy` does, and for a bad limit or cursor."""
    return _POLICIES.page(transaction, limit, cursor)


def _approve(
    transaction: Transaction,
    shelf: _Shelf[A],
    digest: bytes,
    said: dict[str, Json],
    expected: int | None,
    *,
    by: str,
    at: datetime,
) -> A:
    row = transaction.one(shelf.find, digest=digest)
    version = row[-3] if row else 0
    if expected not in (None, version):
        raise RequestRefused(Reason.VERSION_CONFLICT, found=f"version {version}", wanted=f"version {expected}")
    content: tuple[Field, ...] = tuple(map(_column, said.values()))
    if row is None or row[1:-3] != content:
        names = ("digest", *said, "version", "approved_by", "approved_at")
        fresh = (digest, *content, version + 1, by, to_micros(at))
        transaction.run(shelf.update if row else shelf.insert, **dict(zip(names, fresh, strict=True)))
        _note(transaction, f"{shelf.kind}.approve", digest.hex(), {**said, "version": version + 1}, by=by, at=at)
        row = fresh
        entry = _entry(transaction, shelf, row)
        log.append(transaction, decisions.approved(digest, shelf.kind, at, revoked=entry.revoked))
        return entry
    return _entry(transaction, shelf, row)


def _column(said: Json) -> Field:
    return ",".join(map(str, said)) if isinstance(said, list) else str(said)


def _find(transaction: Transaction, shelf: _Shelf[A], digest: bytes) -> A | None:
    row = transaction.one(shelf.find, digest=digest)
    return _entry(transaction, shelf, row) if row else None


def _entry(transaction: Transaction, shelf: _Shelf[A], row: Row) -> A:
    revoked = revocations.find(transaction, shelf.kind, row[0].hex()) is not None
    return replace(shelf.listing.entry(row), revoked=revoked)


def _list(transaction: Transaction, shelf: _Shelf[A], limit: int, cursor: str | None) -> Page[A]:
    page = shelf.listing.page(transaction, limit, cursor)
    revoked = revocations.values_of(transaction, shelf.kind)
    return Page(tuple(replace(entry, revoked=entry.digest.hex() in revoked) for entry in page.items), page.next)


def _note(
    transaction: Transaction, action: str, subject: str, detail: dict[str, Json], *, by: str, at: datetime
) -> None:
    audit.append(transaction, actor=by, action=action, subject=subject, detail=detail, at=at)
    transaction.announce()
