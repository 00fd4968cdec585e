"""What a submission is, and what the registry has to say about it before anything is verified."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final

from attestd.claims import CpuClaims, SnpClaims
from attestd.errors import Reason, RequestRefused
from attestd.evidence import Evidence, Scheme, load_evidence_cbor, load_evidence_json
from attestd.nvgpu.attestation import GpuAttestation
from attestd.policy import AppraisalPolicy
from attestd.registrar.policies import Policies
from attestd.registry import catalogue, challenges, high_water, results
from attestd.registry.database import Transaction
from attestd.registry.values import Mark, NewResult, Recorded
from attestd.snp.collateral import chip_key
from attestd.verifier import Attestation

_SUBMISSION: Final = b"attestd/submission/v1\0"
_CHIP: Final = b"attestd/snp-chip/v1\0"
_GUEST: Final = b"attestd/snp-guest/v1\0"
_CBOR_MAP: Final = 5


def load_evidence(raw: bytes) -> Evidence:
    """Decode a body that was kept. A CBOR map never starts like JSON: its first three bits are 101 (RFC 8949, 3.1)."""
    is_cbor = raw[:1] != b"" and raw[0] >> 5 == _CBOR_MAP
    return load_evidence_cbor(raw) if is_cbor else load_evidence_json(raw)


@dataclass(frozen=True, slots=True)
class Consulted:
    """What the registry says about one submission: the verdict names this very policy."""

    policy: AppraisalPolicy
    approved_models: frozenset[bytes]
    approved_images: Mapping[bytes, frozenset[str]]


def consult(  # noqa: PLR0913 - what is consulted about, and who asks
    transaction: Transaction,
    policies: Policies,
    evidence: Evidence,
    submission: bytes,
    attestation: Attestation,
    *,
    provider: str,
    default_policy: str,
    at: datetime,
) -> Consulted:
    """Look up challenge, policy, models, and where the policy takes registered images, the image.

    Raises `RequestRefused` with `challenge.unknown` or `policy.unknown`. This only spares the work: the challenge is
    judged and consumed when the result is recorded, which also tells a used one from a repetition.
    """
    try:
        challenges.require(transaction, evidence.challenge, provider, at)
    except RequestRefused as error:
        # Challenges are forgotten, results are not: a repetition is one for good.
        is_unknown = error.reason is Reason.CHALLENGE_UNKNOWN
        if is_unknown and results.find_by_evidence(transaction, provider, submission) is None:
            raise
    policy = policies.in_force(transaction, evidence.policy or default_policy)
    models = approved_models(transaction, evidence.models)
    images = approved_images(transaction, attestation.image_digest) if policy.takes_registered_images else {}
    return Consulted(policy, models, images)


def record(
    transaction: Transaction,
    new: NewResult,
    at: datetime,
    *,
    marks: Sequence[Mark],
    images: Mapping[bytes, frozenset[str]],
    live_keys_per_platform: int,
) -> Recorded:
    """Record a result; a key is registered only on ground that still holds.

    While a verdict was made, this process or another may have put another policy into force, approved the image for
    other roles, or seen newer collateral, and have appraised again all that was registered by then. Raises
    `RequestRefused` (`request.version_conflict`), `EndorsementRejected` (`tdx.collateral_rollback`), and what
    `results.record` raises.
    """
    if new.key is not None:
        if catalogue.policy_digest(transaction, new.policy_name) != new.policy_digest:
            raise RequestRefused(
                Reason.VERSION_CONFLICT,
                found="another policy in force than a moment ago",
                wanted="the same evidence again",
            )
        if images and approved_images(transaction, new.key.image) != images:
            raise RequestRefused(
                Reason.VERSION_CONFLICT,
                found="another approval of the image than a moment ago",
                wanted="the same evidence again",
            )
        high_water.require(transaction, marks)
    return results.record(transaction, new, at, live_keys_per_platform=live_keys_per_platform)


def approved_models(transaction: Transaction, digests: tuple[bytes, ...]) -> frozenset[bytes]:
    """Return those of the digests that the registry approves now."""
    found = ((digest, catalogue.find_model(transaction, digest)) for digest in digests)
    return frozenset(digest for digest, model in found if model is not None and not model.revoked)


def approved_images(transaction: Transaction, digest: bytes) -> dict[bytes, frozenset[str]]:
    """Return for which roles the registry approves an image now, or nothing."""
    image = catalogue.find_image(transaction, digest)
    return {} if image is None or image.revoked else {digest: frozenset(image.roles)}


def submission_id(attestation: Attestation, gpus: Sequence[GpuAttestation], evidence: Evidence) -> bytes:
    """Return what makes two submissions the same: a digest of what is authenticated about them.

    A report of `attestd/v1` answers one challenge and commits to the GPUs, so its evidence id is enough. With other
    schemes the challenge may be answered beside the report, by a signature, and any GPUs may be: an old report with a
    new challenge is a new submission, and so is one with other GPUs.
    """
    if evidence.binding is Scheme.ATTESTD_V1:
        return attestation.evidence_id
    # Nothing that a GPU has signed is the device's alone; its certificates are.
    said = (gpu.report.evidence_id + sha256(gpu.chain[0]).digest() for gpu in gpus)
    return sha256(_SUBMISSION + attestation.evidence_id + evidence.challenge + b"".join(said)).digest()


def platform_id(claims: CpuClaims) -> bytes:
    """Return the id of a machine.

    Intel: SHA-256 of its PPID, and of its instance id where it has several packages. AMD: of its chip's id, which a
    VCEK names even where the report does not. A report that a VLEK has signed may not tell the chip: then each guest
    counts as a machine of its own, by its REPORT_ID.
    """
    if not isinstance(claims, SnpClaims):
        return sha256(claims.pck.ppid + (claims.pck.platform_instance_id or b"")).digest()
    if claims.vek.hwid is not None:
        return sha256(_CHIP + chip_key(claims.vek.hwid)).digest()
    if any(claims.chip_id):
        return sha256(_CHIP + claims.chip_id).digest()
    return sha256(_GUEST + claims.report_id).digest()


def product_line(claims: CpuClaims) -> str:
    """Return what a revocation of a product line names: Intel's FMSPC in hex, or AMD's name in lower case."""
    if isinstance(claims, SnpClaims):
        return claims.vek.product_line.lower()
    return claims.pck.fmspc.hex()
