"""What administrators approve: models, images and policies. Every change is a new version and an audit entry."""

from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from typing import Final

from sqlalchemy import bindparam, func, insert, select, tuple_, update
from sqlmodel import col

from attestd.codec import Json
from attestd.errors import Reason, RequestRefused
from attestd.registry import audit, revocations
from attestd.registry.database import Row, Statement, Transaction
from attestd.registry.instants import from_micros, to_micros
from attestd.registry.integrity import Field, damaged, intact
from attestd.registry.pages import Listing
from attestd.registry.tables import ImageRow, ModelRow, PolicyRow, columns
from attestd.registry.values import Image, Model, Page, Policy, RevocationKind

_MODEL: Final = columns(ModelRow)
_IMAGE: Final = columns(ImageRow)
_POLICY: Final = columns(PolicyRow)

_FIND_MODEL: Final = Statement(select(*_MODEL).where(col(ModelRow.digest) == bindparam("digest")))
_LIST_MODELS: Final = Statement(
    select(*_MODEL)
    .where(col(ModelRow.digest) > bindparam("after"))
    .order_by(col(ModelRow.digest))
    .limit(bindparam("most"))
)
_ALL_MODELS: Final = Statement(select(col(ModelRow.digest)))
_INSERT_MODEL: Final = Statement(insert(ModelRow))
_UPDATE_MODEL: Final = Statement(
    update(ModelRow)
    .where(col(ModelRow.digest) == bindparam("digest"))
    .values({name: bindparam(name) for name in ("name", "version", "approved_by", "approved_at")})
)

_FIND_IMAGE: Final = Statement(select(*_IMAGE).where(col(ImageRow.digest) == bindparam("digest")))
_LIST_IMAGES: Final = Statement(
    select(*_IMAGE)
    .where(col(ImageRow.digest) > bindparam("after"))
    .order_by(col(ImageRow.digest))
    .limit(bindparam("most"))
)
_INSERT_IMAGE: Final = Statement(insert(ImageRow))
_UPDATE_IMAGE: Final = Statement(
    update(ImageRow)
    .where(col(ImageRow.digest) == bindparam("digest"))
    .values({name: bindparam(name) for name in ("name", "roles", "version", "approved_by", "approved_at")})
)

_NEWEST: Final = select(col(PolicyRow.name), func.max(col(PolicyRow.version))).group_by(col(PolicyRow.name))
_IN_FORCE: Final = Statement(
    select(*_POLICY).where(col(PolicyRow.name) == bindparam("of_name")).order_by(col(PolicyRow.version).desc()).limit(1)
)
_FIND_VERSION: Final = Statement(
    select(*_POLICY).where(
        col(PolicyRow.name) == bindparam("of_name"), col(PolicyRow.version) == bindparam("of_version")
    )
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


_MODELS: Final = Listing("models", _LIST_MODELS, b"", _model)
_IMAGES: Final = Listing("images", _LIST_IMAGES, b"", _image)
_POLICIES: Final = Listing("policies", _LIST_POLICIES, "", _policy)


def approve_model(
    transaction: Transaction, digest: bytes, *, name: str, expected_version: int | None = None, by: str, at: datetime
) -> Model:
    """Approve a model, or change what is said of it; the same again changes nothing.

    Raises `RequestRefused` (`request.version_conflict`) where it is not at the version that the caller expects;
    0 expects that there is none.
    """
    known = find_model(transaction, digest)
    version = _refuse_stale(known.version if known else 0, expected_version)
    if known is not None and known.name == name:
        return known
    statement = _UPDATE_MODEL if known else _INSERT_MODEL
    approved: dict[str, Field] = {"digest": digest, "name": name}
    transaction.run(statement, **approved, version=version + 1, approved_by=by, approved_at=to_micros(at))
    _note(transaction, "model.approve", digest.hex(), {"name": name, "version": version + 1}, by=by, at=at)
    revoked = known.revoked if known else _is_revoked(transaction, RevocationKind.MODEL, digest)
    return Model(digest=digest, name=name, version=version + 1, approved_by=by, approved_at=at, revoked=revoked)


def find_model(transaction: Transaction, digest: bytes) -> Model | None:
    """Return a model that was approved."""
    row = transaction.one(_FIND_MODEL, digest=digest)
    return replace(_model(row), revoked=_is_revoked(transaction, RevocationKind.MODEL, digest)) if row else None


def list_models(transaction: Transaction, *, limit: int = 100, cursor: str | None = None) -> Page[Model]:
    """List the models by digest. Raises `RequestRefused` (`request.malformed`) for a bad limit or cursor."""
    page = _MODELS.page(transaction, limit, cursor)
    revoked = revocations.values_of(transaction, RevocationKind.MODEL)
    return Page(tuple(replace(model, revoked=model.digest.hex() in revoked) for model in page.items), page.next)


def models_in_force(transaction: Transaction) -> frozenset[bytes]:
    """Return the digests of all models that are approved and not revoked."""
    revoked = revocations.values_of(transaction, RevocationKind.MODEL)
    return frozenset(row[0] for row in transaction.all(_ALL_MODELS) if row[0].hex() not in revoked)


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
    known = find_image(transaction, digest)
    version = _refuse_stale(known.version if known else 0, expected_version)
    roles = tuple(sorted(set(roles)))
    if known is not None and (known.name, known.roles) == (name, roles):
        return known
    statement = _UPDATE_IMAGE if known else _INSERT_IMAGE
    approved: dict[str, Field] = {"digest": digest, "name": name, "roles": ",".join(roles)}
    transaction.run(statement, **approved, version=version + 1, approved_by=by, approved_at=to_micros(at))
    detail: dict[str, Json] = {"name": name, "roles": list(roles), "version": version + 1}
    _note(transaction, "image.approve", digest.hex(), detail, by=by, at=at)
    revoked = known.revoked if known else _is_revoked(transaction, RevocationKind.IMAGE, digest)
    return Image(
        digest=digest, name=name, roles=roles, version=version + 1, approved_by=by, approved_at=at, revoked=revoked
    )


def find_image(transaction: Transaction, digest: bytes) -> Image | None:
    """Return an image that was approved."""
    row = transaction.one(_FIND_IMAGE, digest=digest)
    return replace(_image(row), revoked=_is_revoked(transaction, RevocationKind.IMAGE, digest)) if row else None


def list_images(transaction: Transaction, *, limit: int = 100, cursor: str | None = None) -> Page[Image]:
    """List the images by digest. Raises `RequestRefused` (`request.malformed`) for a bad limit or cursor."""
    page = _IMAGES.page(transaction, limit, cursor)
    revoked = revocations.values_of(transaction, RevocationKind.IMAGE)
    return Page(tuple(replace(image, revoked=image.digest.hex() in revoked) for image in page.items), page.next)


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
    _note(transaction, "policy.approve", name, {"version": version, "digest": digest.hex()}, by=by, at=at)
    return Policy(name=name, version=version, digest=digest, text=text, approved_by=by, approved_at=at)


def find_policy(transaction: Transaction, name: str, version: int | None = None) -> Policy | None:
    """Return the version of a policy that is in force, or an earlier one.

    Raises `Unavailable` (`registry.integrity`) where its text is not what was approved.
    """
    if version is None:
        row = transaction.one(_IN_FORCE, of_name=name)
    else:
        row = transaction.one(_FIND_VERSION, of_name=name, of_version=version)
    return _policy(row) if row else None


def list_policies(transaction: Transaction, *, limit: int = 100, cursor: str | None = None) -> Page[Policy]:
    """List the policies in force by name. Raises as `find_policy` does, and for a bad limit or cursor."""
    return _POLICIES.page(transaction, limit, cursor)


def _refuse_stale(version: int, expected: int | None) -> int:
    if expected is not None and expected != version:
        raise RequestRefused(Reason.VERSION_CONFLICT, found=f"version {version}", wanted=f"version {expected}")
    return version


def _is_revoked(transaction: Transaction, kind: RevocationKind, digest: bytes) -> bool:
    return revocations.find(transaction, kind, digest.hex()) is not None


def _note(
    transaction: Transaction, action: str, subject: str, detail: dict[str, Json], *, by: str, at: datetime
) -> None:
    audit.append(transaction, actor=by, action=action, subject=subject, detail=detail, at=at)
    transaction.announce()
