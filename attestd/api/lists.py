"""Lists: their parameters, their pages, and the documents in them."""

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

from attestd.api.problem import JSON_HEADER, Answer
from attestd.api.schemas import Digest, Slug
from attestd.codec import Json, dump_digest, dump_time, load_digest, load_time
from attestd.errors import Malformed
from attestd.evidence import Scheme, Tee
from attestd.registrar.documents import dump
from attestd.registry.values import (
    ApiKey,
    AuditEntry,
    Image,
    KeyFilters,
    KeyState,
    Model,
    Policy,
    Provider,
    Revocation,
)
from attestd.settings import Settings


def _load_time(text: object) -> datetime:
    """Take RFC 3339 alone, where pydantic would take numbers, too."""
    try:
        return load_time(str(text))
    except Malformed as error:
        raise ValueError(error.reason.value) from None


QueryTime = Annotated[datetime, PlainValidator(_load_time), WithJsonSchema({"type": "string", "format": "date-time"})]
_TruthText: TypeAlias = Literal["true", "false"]


class PageQuery(BaseModel):
    """Which part of a list is asked for."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    cursor: Annotated[str, Field(min_length=1, max_length=512)] | None = None


class TimeQuery(BaseModel):
    """As of which time something is asked for."""

    model_config = ConfigDict(extra="forbid")

    at: QueryTime | None = None


class OneKeyQuery(TimeQuery):
    """How one key is asked for: with what proves it by a checkpoint, where `proof` is true."""

    proof: _TruthText = "false"


class KeyQuery(PageQuery):
    """Which keys are asked for; without `state`, those that are trusted."""

    tee: Tee | None = None
    image: Digest | None = None
    model: Digest | None = None
    provider: Slug | None = None
    binding: Scheme | None = None
    state: KeyState = KeyState.ACTIVE
    published: _TruthText | None = None
    at: QueryTime | None = None

    def filters(self) -> KeyFilters:
        """Return them as the registry takes them."""
        return KeyFilters(
            tee=self.tee,
            image=None if self.image is None else load_digest(self.image),
            model=None if self.model is None else load_digest(self.model),
            provider=self.provider,
            binding=None if self.binding is None else self.binding.value,
            state=self.state,
            published=None if self.published is None else self.published == "true",
        )


class ApiKeyQuery(PageQuery):
    """Whose API keys are asked for; without `provider`, those of auditors and administrators."""

    provider: Slug | None = None


def page_document(items: Iterable[Json], following: str | None, settings: Settings) -> bytes:
    """Write one page of a list."""
    return dump(
        {
            "items": list(items),
            "next": following,
            "registry_id": settings.registry_id,
            "simulated": settings.simulated,
        }
    )


def page(items: Iterable[Json], following: str | None, settings: Settings) -> Answer:
    """Answer with one page of a list that may change at any time."""
    body = page_document(items, following, settings)
    return Answer(200, body, [JSON_HEADER, (b"cache-control", b"no-cache")])


def export_model(model: Model | Image) -> dict[str, Json]:
    """Return an approved model or image."""
    document: dict[str, Json] = {
        "digest": dump_digest(model.digest),
        "name": model.name,
        "version": model.version,
        "approved_by": model.approved_by,
        "approved_at": dump_time(model.approved_at),
        "revoked": model.revoked,
    }
    if isinstance(model, Image):
        document["roles"] = list(model.roles)
    return document


def export_policy(policy: Policy) -> dict[str, Json]:
    """Return a policy in force, without its text."""
    return {
        "name": policy.name,
        "version": policy.version,
        "digest": dump_digest(policy.digest),
        "approved_by": policy.approved_by,
        "approved_at": dump_time(policy.approved_at),
    }


def export_provider(provider: Provider) -> dict[str, Json]:
    """Return a provider."""
    return {
        "id": provider.id,
        "name": provider.name,
        "registered_by": provider.registered_by,
        "registered_at": dump_time(provider.registered_at),
        "revoked": provider.revoked,
    }


def export_api_key(api_key: ApiKey) -> dict[str, Json]:
    """Return what may be seen of an API key."""
    return {
        "id": api_key.id,
        "role": api_key.role.value,
        "provider": api_key.provider,
        "label": api_key.label,
        "issued_by": api_key.issued_by,
        "issued_at": dump_time(api_key.issued_at),
        "expires_at": dump_time(api_key.expires_at),
        "revoked_at": None if api_key.revoked_at is None else dump_time(api_key.revoked_at),
    }


def export_revocation(revocation: Revocation) -> dict[str, Json]:
    """Return a revocation; an image or a model is named as it is elsewhere."""
    by_digest = revocation.kind in ("image", "model")
    return {
        "kind": revocation.kind.value,
        "value": f"sha256:{revocation.value}" if by_digest else revocation.value,
        "reason": revocation.reason,
        "revoked_by": revocation.revoked_by,
        "revoked_at": dump_time(revocation.revoked_at),
        "keys": revocation.keys,
    }


def export_audit(entry: AuditEntry) -> dict[str, Json]:
    """Return one entry of the audit trail; its hash is over these members (attestd/registry/audit.py)."""
    detail: Json = json.loads(entry.detail)
    return {
        "seq": entry.seq,
        "at": dump_time(entry.at),
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "detail": detail,
        "previous": entry.previous.hex(),
        "hash": entry.hash.hex(),
    }
