"""Providers and API keys. A token is shown once; what is stored is the SHA-256 of its secret."""

import hmac
import re
from datetime import datetime, timedelta
from hashlib import sha256
from secrets import token_bytes, token_hex
from typing import Final

from sqlalchemy import bindparam, exists, func, insert, select, update
from sqlmodel import col

from attestd.codec import dump_base64url
from attestd.errors import Reason, RequestRefused
from attestd.registry import audit
from attestd.registry.database import Row, Statement, Transaction
from attestd.registry.instants import from_micros, from_optional_micros, to_micros
from attestd.registry.integrity import intact
from attestd.registry.pages import Listing
from attestd.registry.tables import ApiKeyRow, ProviderRow, RevocationRow, columns
from attestd.registry.values import ApiKey, Caller, IssuedApiKey, Page, Provider, RevocationKind, Role

# The prefix lets scanners for leaked secrets find one; 43 base64url characters are 256 bits.
_TOKEN: Final = re.compile(r"attestd_([0-9a-f]{16})_([A-Za-z0-9_-]{43})", re.ASCII)
_NO_DIGEST: Final = bytes(32)

_PROVIDER: Final = (
    *columns(ProviderRow),
    exists().where(
        col(RevocationRow.kind) == RevocationKind.PROVIDER.value, col(RevocationRow.value) == col(ProviderRow.id)
    ),
)
_API_KEY: Final = columns(ApiKeyRow, without=("secret_digest",))
_BY_ID: Final = col(ApiKeyRow.id) == bindparam("of_id")

_FIND_PROVIDER: Final = Statement(select(*_PROVIDER).where(col(ProviderRow.id) == bindparam("id")))
_LIST_PROVIDERS: Final = Statement(
    select(*_PROVIDER)
    .where(col(ProviderRow.id) > bindparam("after"))
    .order_by(col(ProviderRow.id))
    .limit(bindparam("most"))
)
_REGISTER: Final = Statement(insert(ProviderRow))

_FIND_API_KEY: Final = Statement(select(*_API_KEY).where(_BY_ID))
_LIST_API_KEYS: Final = Statement(
    select(*_API_KEY)
    .where(func.coalesce(col(ApiKeyRow.provider), "") == bindparam("of_provider"))
    .where(col(ApiKeyRow.id) > bindparam("after"))
    .order_by(col(ApiKeyRow.id))
    .limit(bindparam("most"))
)
_AUTHENTICATE: Final = Statement(select(*_API_KEY, col(ApiKeyRow.secret_digest)).where(_BY_ID))
_ISSUE: Final = Statement(insert(ApiKeyRow))
_EXPIRE: Final = Statement(update(ApiKeyRow).where(_BY_ID).values(expires_at=bindparam("expires_at")))
_REVOKE: Final = Statement(
    update(ApiKeyRow).where(_BY_ID, col(ApiKeyRow.revoked_at).is_(None)).values(revoked_at=bindparam("revoked_at"))
)
_REVOKE_ALL: Final = Statement(
    update(ApiKeyRow)
    .where(col(ApiKeyRow.provider) == bindparam("of_provider"), col(ApiKeyRow.revoked_at).is_(None))
    .values(revoked_at=bindparam("revoked_at"))
)
_COUNT_ADMINS: Final = Statement(
    select(func.count())
    .select_from(ApiKeyRow)
    .where(col(ApiKeyRow.role) == Role.ADMIN.value, col(ApiKeyRow.revoked_at).is_(None))
    .where(col(ApiKeyRow.expires_at) >= bindparam("at"))
)


@intact("a provider")
def _provider(row: Row) -> Provider:
    id_, name, registered_by, registered_at, revoked = row
    return Provider(
        id=id_,
        name=name,
        registered_by=registered_by,
        registered_at=from_micros(registered_at),
        revoked=bool(revoked),
    )


@intact("an API key")
def _api_key(row: Row) -> ApiKey:
    id_, role, provider, label, issued_by, issued_at, expires_at, revoked_at = row
    return ApiKey(
        id=id_,
        role=Role(role),
        provider=provider,
        label=label,
        issued_by=issued_by,
        issued_at=from_micros(issued_at),
        expires_at=from_micros(expires_at),
        revoked_at=from_optional_micros(revoked_at),
    )


_PROVIDERS: Final = Listing("providers", _LIST_PROVIDERS, "", _provider)
_API_KEYS: Final = Listing("api_keys", _LIST_API_KEYS, "", _api_key)


def register_provider(transaction: Transaction, id_: str, name: str, *, by: str, at: datetime) -> Provider:
    """Register a provider; the same again is answered with the first.

    Raises `RequestRefused` (`request.version_conflict`) where the id has another name.
    """
    known = find_provider(transaction, id_)
    if known is None:
        transaction.run(_REGISTER, id=id_, name=name, registered_by=by, registered_at=to_micros(at))
        audit.append(transaction, actor=by, action="provider.register", subject=id_, detail={"name": name}, at=at)
        return Provider(id=id_, name=name, registered_by=by, registered_at=at, revoked=False)
    if known.name != name:
        raise RequestRefused(Reason.VERSION_CONFLICT, found="a provider of another name", wanted="an id that is free")
    return known


def find_provider(transaction: Transaction, id_: str) -> Provider | None:
    """Return a provider, if it is registered."""
    row = transaction.one(_FIND_PROVIDER, id=id_)
    return _provider(row) if row else None


def list_providers(transaction: Transaction, *, limit: int = 100, cursor: str | None = None) -> Page[Provider]:
    """List providers by id. Raises `RequestRefused` (`request.malformed`) for a bad limit or cursor."""
    return _PROVIDERS.page(transaction, limit, cursor)


def issue(
    transaction: Transaction,
    role: Role,
    provider: str | None,
    *,
    label: str,
    expires_at: datetime,
    by: str,
    at: datetime,
) -> IssuedApiKey:
    """Issue an API key; `provider` is given exactly where the role is provider.

    Raises `RequestRefused`: `request.not_found` for a provider that is not registered, `key.revoked` for one that was
    revoked.
    """
    if (provider is not None) != (role is Role.PROVIDER):
        message = f"an API key of role {role} for {'one' if provider else 'no'} provider"
        raise ValueError(message)
    if provider is not None:
        known = find_provider(transaction, provider)
        if known is None:
            raise _nothing("no such provider", "a registered provider")
        if known.revoked:
            raise RequestRefused(Reason.KEY_REVOKED, found="a provider that was revoked", wanted="another provider")
    issued = _make(transaction, role, provider, label=label, expires_at=expires_at, by=by, at=at)
    _note(transaction, "api_key.issue", issued.api_key, by=by, at=at)
    return issued


def rotate(
    transaction: Transaction, api_key_id: str, *, overlap: timedelta, expires_at: datetime, by: str, at: datetime
) -> IssuedApiKey:
    """Issue the successor of an API key; the old one expires after the overlap, or earlier if it would have anyway.

    Raises `RequestRefused` (`request.not_found`) for an API key that is unknown, expired or revoked.
    """
    old = _require(transaction, api_key_id)
    if old.revoked_at is not None or old.expires_at < at:
        raise _nothing("an API key that is not in force", "one that is, or a new one")
    transaction.run(_EXPIRE, of_id=old.id, expires_at=to_micros(min(old.expires_at, at + overlap)))
    issued = _make(transaction, old.role, old.provider, label=old.label, expires_at=expires_at, by=by, at=at)
    _note(transaction, "api_key.rotate", issued.api_key, by=by, at=at, replaces=old.id)
    return issued


def revoke_api_key(transaction: Transaction, api_key_id: str, *, by: str, at: datetime) -> ApiKey:
    """Revoke an API key at once. Raises `RequestRefused` (`request.not_found`) where there is none."""
    known = _require(transaction, api_key_id)
    if transaction.run(_REVOKE, of_id=api_key_id, revoked_at=to_micros(at)):
        _note(transaction, "api_key.revoke", known, by=by, at=at)
    return _require(transaction, api_key_id)


def revoke_api_keys_of(transaction: Transaction, provider: str, at: datetime) -> None:
    """Revoke every API key of a provider that was itself revoked."""
    transaction.run(_REVOKE_ALL, of_provider=provider, revoked_at=to_micros(at))


def list_api_keys(
    transaction: Transaction, provider: str | None, *, limit: int = 100, cursor: str | None = None
) -> Page[ApiKey]:
    """List the API keys of a provider, or those of none. Raises `RequestRefused` for a bad limit or cursor."""
    return _API_KEYS.page(transaction, limit, cursor, of_provider=provider or "")


def authenticate(transaction: Transaction, token: str, at: datetime) -> Caller:
    """Return whom a token stands for.

    Raises `RequestRefused` (`access.unauthenticated`) alike for a token that is malformed, unknown, wrong, expired or
    revoked. The secret is compared in constant time; the id is no secret.
    """
    match = _TOKEN.fullmatch(token)
    row = transaction.one(_AUTHENTICATE, of_id=match[1]) if match else None
    known = hmac.compare_digest(row[-1] if row else _NO_DIGEST, _digest(match[2] if match else ""))
    if row is not None and known:
        api_key = _api_key(row[:-1])
        if api_key.revoked_at is None and at <= api_key.expires_at:
            return Caller(api_key.id, api_key.role, api_key.provider)
    raise RequestRefused(Reason.UNAUTHENTICATED, found="no API key in force", wanted="a bearer token in force")


def count_admins(transaction: Transaction, at: datetime) -> int:
    """Return how many administrators' API keys are in force."""
    row = transaction.one(_COUNT_ADMINS, at=to_micros(at))
    return int(row[0]) if row else 0


def _make(
    transaction: Transaction,
    role: Role,
    provider: str | None,
    *,
    label: str,
    expires_at: datetime,
    by: str,
    at: datetime,
) -> IssuedApiKey:
    id_, secret = token_hex(8), dump_base64url(token_bytes(32))
    transaction.run(
        _ISSUE,
        id=id_,
        role=role.value,
        provider=provider,
        label=label,
        secret_digest=_digest(secret),
        issued_by=by,
        issued_at=to_micros(at),
        expires_at=to_micros(expires_at),
        revoked_at=None,
    )
    return IssuedApiKey(_require(transaction, id_), f"attestd_{id_}_{secret}")


def _digest(secret: str) -> bytes:
    return sha256(secret.encode()).digest()


def _require(transaction: Transaction, api_key_id: str) -> ApiKey:
    row = transaction.one(_FIND_API_KEY, of_id=api_key_id)
    if row is None:
        raise _nothing("no such API key", "the id of one")
    return _api_key(row)


def _note(
    transaction: Transaction, action: str, api_key: ApiKey, *, by: str, at: datetime, replaces: str | None = None
) -> None:
    detail = {"role": api_key.role.value, "provider": api_key.provider, "label": api_key.label}
    if replaces is not None:
        detail["replaces"] = replaces
    audit.append(transaction, actor=by, action=action, subject=api_key.id, detail=detail, at=at)
    transaction.announce()


def _nothing(found: str, wanted: str) -> RequestRefused:
    return RequestRefused(Reason.REQUEST_PATH, found=found, wanted=wanted)
