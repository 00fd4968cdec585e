"""What the service answers with: JSON documents of results, keys and lists, written once and kept as bytes."""

import json
from datetime import UTC, datetime
from operator import add
from typing import Final

from attestd.claims import export_gpu
from attestd.codec import Json, dump_base64, dump_base64url, dump_digest, dump_time
from attestd.policy import AppraisalPolicy
from attestd.registrar.authentic import Recent
from attestd.registry.values import Key
from attestd.snp.vtpm import export_vtpm
from attestd.tdx.eventlog import export_event_log
from attestd.verifier import AttestationResult, export_bound, export_result

# Some 10 KiB each.
_SHARED: Final = 512
_NEVER: Final = datetime.min.replace(tzinfo=UTC)

_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False)


def dump(document: Json) -> bytes:
    """Write a document without spaces."""
    return _ENCODER.encode(document).encode()


class Results:
    """Writes the documents of results.

    Most of what a result says is the same for every key of one image on one platform under one policy. It is exported
    and written once, and kept in pieces, between which goes what is a result's own.
    """

    def __init__(self, registry_id: str) -> None:
        """Take the registry that the results are for."""
        self._registry_id = registry_id
        self._shared: Recent[AttestationResult, list[bytes]] = Recent(_SHARED)

    def recorded(
        self,
        result: AttestationResult,
        *,
        result_id: str,
        provider: str,
        challenge: bytes,
        platform: bytes,
        policy: AppraisalPolicy,
    ) -> bytes:
        """Return the document of a result that is going to be recorded."""
        head: dict[str, Json] = {
            "id": result_id,
            "dry_run": False,
            "registry_id": self._registry_id,
            "provider": provider,
            "challenge": dump_base64url(challenge),
            "platform": platform.hex(),
            "policy": export_policy(policy),
        }
        return self._written(head, result)

    def dry(self, result: AttestationResult, *, platform: bytes, policy: AppraisalPolicy) -> bytes:
        """Return the document of a dry run: nothing refers to it, and it says so."""
        head: dict[str, Json] = {
            "id": None,
            "dry_run": True,
            "registry_id": self._registry_id,
            "provider": None,
            "challenge": None,
            "platform": platform.hex(),
            "policy": export_policy(policy),
        }
        return self._written(head, result)

    def _written(self, head: dict[str, Json], result: AttestationResult) -> bytes:
        shared = _without_own(result)
        pieces = self._shared.get(shared, lambda: _pieces(shared))
        own = [*map(dump, _own(result).values()), b""]
        return dump(head)[:-1] + b"," + b"".join(map(add, pieces, own))


def _own(result: AttestationResult) -> dict[str, Json]:
    """Return what is a result's own, in the order of the document."""
    verified, event_log, vtpm = result.verified, result.verified.event_log, result.verified.vtpm
    return {
        "evidence_id": dump_digest(verified.evidence_id),
        "report_data": verified.claims.report_data.hex(),
        "event_log": None if event_log is None else export_event_log(event_log),
        "vtpm": None if vtpm is None else export_vtpm(vtpm),
        "gpus": [export_gpu(gpu) for gpu in verified.gpus],
        "at": dump_time(result.at),
        "valid_until": dump_time(result.not_after),
        "key": export_bound(result.bound),
    }


def _without_own(result: AttestationResult) -> AttestationResult:
    """Return what it shares with others."""
    verified = result.verified
    claims = verified.claims._replace(evidence_id=b"", report_data=b"")
    return result._replace(
        at=_NEVER,
        verified=verified._replace(claims=claims, event_log=None, vtpm=None, gpus=()),
        appraisal=result.appraisal._replace(not_after=_NEVER),
        bound=None,
        not_after=_NEVER,
    )


def _pieces(shared: AttestationResult) -> list[bytes]:
    """Write what is shared, without the brace that opens it, and cut it where a value of `_own` goes."""
    pieces, text = [], dump(export_result(shared))[1:]
    for name, value in _own(shared).items():
        member = b'"%b":' % name.encode()
        # No text can hold this: quotes within texts are escaped.
        before, text = text.split(member + dump(value), 1)
        pieces.append(before + member)
    return [*pieces, text]


def export_policy(policy: AppraisalPolicy) -> dict[str, Json]:
    """Return which policy it was."""
    return {"name": policy.name, "version": policy.version, "digest": dump_digest(policy.digest)}


def export_key(key: Key) -> dict[str, Json]:
    """Return what everybody may know of a key. The platform is left out: it tells machines apart (attacks.md, A12)."""
    return {
        "key_id": key.id.hex(),
        "state": key.state.value,
        "spki": dump_base64(key.spki),
        "tee": key.tee,
        "binding": key.binding,
        "role": key.role,
        "image": dump_digest(key.image),
        "models": [dump_digest(model) for model in key.models],
        "provider": key.provider,
        "policy": {"name": key.policy_name, "digest": dump_digest(key.policy_digest)},
        "result_id": key.result_id,
        "result_digest": dump_digest(key.result_digest),
        "valid_from": dump_time(key.valid_from),
        "valid_until": dump_time(key.valid_until),
        "registered_at": dump_time(key.registered_at),
        "changed_at": dump_time(key.changed_at),
    }
