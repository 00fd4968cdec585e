"""What a submission is, and what the registry has to say about it before anything is verified."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final

from attestd.claims import PckClaims
from attestd.errors import Reason, RequestRefused
from attestd.evidence import Evidence, Scheme, load_evidence_cbor, load_evidence_json
from attestd.registrar.policies import in_force
from attestd.registry import catalogue, challenges, high_water, results
from attestd.registry.database import Transaction
from attestd.registry.values import Mark, NewResult, Policy, Recorded
from attestd.tdx.quote import Quote

_SUBMISSION: Final = b"attestd/submission/v1\0"
_CBOR_MAP: Final = 5


def load_evidence(raw: bytes) -> Evidence:
    """Decode a body that was kept. A CBOR map never starts like JSON: its first three bits are 101 (RFC 8949, 3.1)."""
    is_cbor = raw[:1] != b"" and raw[0] >> 5 == _CBOR_MAP
    return load_evidence_cbor(raw) if is_cbor else load_evidence_json(raw)


@dataclass(frozen=True, slots=True)
class Consulted:
    """What the registry says about one submission, from one snapshot: the verdict names this very policy."""

    policy: Policy
    approved_models: frozenset[bytes]


def consult(
    transaction: Transaction, evidence: Evidence, *, provider: str, default_policy: str, at: datetime
) -> Consulted:
    """Look up challenge, policy and models.

    Raises `RequestRefused` with `challenge.unknown` or `policy.unknown`. This only spares the work: the challenge is
    judged and consumed when the result is recorded, which also tells a used one from a repetition.
    """
    try:
        challenges.require(transaction, evidence.challenge, provider, at)
    except RequestRefused as error:
        if error.reason is Reason.CHALLENGE_UNKNOWN:
            raise
    policy = in_force(transaction, evidence.policy or default_policy)
    return Consulted(policy, approved_models(transaction, evidence.models))


def record(
    transaction: Transaction, new: NewResult, at: datetime, *, marks: Sequence[Mark], live_keys_per_platform: int
) -> Recorded:
    """Record a result; a key is registered only on ground that still holds.

    While a verdict was made, this process or another may have put another policy into force, or seen newer collateral,
    and have appraised again all that was registered by then. Raises `RequestRefused` (`request.version_conflict`),
    `EndorsementRejected` (`tdx.collateral_rollback`), and what `results.record` raises.
    """
    if new.key is not None:
        if in_force(transaction, new.policy_name).digest != new.policy_digest:
            raise RequestRefused(
                Reason.VERSION_CONFLICT,
                found="another policy in force than a moment ago",
                wanted="the same evidence again",
            )
        high_water.require(transaction, marks)
    return results.record(transaction, new, at, live_keys_per_platform=live_keys_per_platform)


def approved_models(transaction: Transaction, digests: tuple[bytes, ...]) -> frozenset[bytes]:
    """Return those of the digests that the registry approves now."""
    found = ((digest, catalogue.find_model(transaction, digest)) for digest in digests)
    return frozenset(digest for digest, model in found if model is not None and not model.revoked)


def submission_id(quote: Quote, evidence: Evidence) -> bytes:
    """Return what makes two submissions the same: a digest of what is authenticated about them.

    A report of `attestd/v1` answers one challenge, so its evidence id is enough. With other schemes the challenge may
    be answered beside the report, by a signature: an old report with a new challenge is a new submission.
    """
    if evidence.binding is Scheme.ATTESTD_V1:
        return quote.evidence_id
    return sha256(_SUBMISSION + quote.evidence_id + evidence.challenge).digest()


def platform_id(pck: PckClaims) -> bytes:
    """Return the id of a machine: SHA-256 of its PPID, and of its instance id where it has several packages."""
    return sha256(pck.ppid + (pck.platform_instance_id or b"")).digest()
