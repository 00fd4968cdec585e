"""What the service answers with: JSON documents of results, keys and lists, written once and kept as bytes."""

import json

from attestd.codec import Json, dump_base64, dump_base64url, dump_digest, dump_time
from attestd.policy import AppraisalPolicy
from attestd.registry.values import Key
from attestd.verifier import AttestationResult, export_result


def dump(document: Json) -> bytes:
    """Write a document without spaces."""
    return json.dumps(document, separators=(",", ":")).encode()


def recorded_result(
    result: AttestationResult,
    *,
    result_id: str,
    registry_id: str,
    provider: str,
    challenge: bytes,
    platform: bytes,
    policy: AppraisalPolicy,
) -> bytes:
    """Return the document of a result that is going to be recorded."""
    return dump(
        {
            "id": result_id,
            "dry_run": False,
            "registry_id": registry_id,
            "provider": provider,
            "challenge": dump_base64url(challenge),
            "platform": platform.hex(),
            "policy": export_policy(policy),
            **export_result(result),
        }
    )


def dry_result(result: AttestationResult, *, registry_id: str, platform: bytes, policy: AppraisalPolicy) -> bytes:
    """Return the document of a dry run: nothing refers to it, and it says so."""
    return dump(
        {
            "id": None,
            "dry_run": True,
            "registry_id": registry_id,
            "provider": None,
            "challenge": None,
            "platform": platform.hex(),
            "policy": export_policy(policy),
            **export_result(result),
        }
    )


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
