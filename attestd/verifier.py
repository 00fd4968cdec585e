"""The verifier: from evidence to an attestation result, as pure functions of bytes, collateral, policy and one time.

    parse_evidence    the quote in the evidence, of the TEE that was named
    requirement       which collateral it needs, once its PCK chain is authenticated
    appraise          verification, binding, event log, policy: the result

The registrar calls them with what it holds in its caches, `attestd verify` with files; nothing else leads to a result.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from attestd.binding.verify import Bound, quote_of, verify_binding
from attestd.claims import CpuClaims, PckCa, TdxClaims, export, export_tcb
from attestd.codec import Json, dump_base64, dump_digest, dump_time
from attestd.errors import Malformed, NotAuthentic, Reason
from attestd.evidence import CpuEvidence, Evidence, Tee
from attestd.policy import AppraisalPolicy, Facts, KeyFacts
from attestd.policy import appraise as appraise_policy
from attestd.result import Appraisal, Tier, export_appraisal
from attestd.tdx.collateral import Collateral
from attestd.tdx.eventlog import EventLogClaims, export_event_log, verify_event_log
from attestd.tdx.pck import PckChain
from attestd.tdx.qe import AttestationKey
from attestd.tdx.quote import Quote, parse_quote
from attestd.tdx.verify import verify
from attestd.x509 import INTEL_SGX_ROOT_CA


@dataclass(frozen=True, slots=True)
class Requirement:
    """Which collateral a quote needs: one TCB Info, one QE Identity and one PCK CRL, with the root's CRL."""

    tee: Tee
    fmspc: bytes  # 6 bytes
    pck_ca: PckCa


class AttestationResult(NamedTuple):
    """What attestd says of one piece of evidence at one time. Made last, of nothing but verified parts."""

    at: datetime
    claims: CpuClaims
    appraisal: Appraisal
    bound: Bound | None  # None: bare evidence, of which nothing may be registered
    event_log: EventLogClaims | None
    not_after: datetime  # until when it may be relied on
    simulated: bool  # the platform's root is not Intel's

    @property
    def tier(self) -> Tier:
        """The verdict of the policy."""
        return self.appraisal.tier

    @property
    def evidence_id(self) -> bytes:
        """The digest of the authenticated bytes."""
        return self.claims.evidence_id


def parse_evidence(cpu: CpuEvidence) -> Quote:
    """Parse the quote in `cpu`. Raises `Malformed`, with `evidence.kind` where it is of another TEE than was named."""
    quote = parse_quote(quote_of(cpu))
    if quote.tee != cpu.tee:
        raise Malformed(Reason.EVIDENCE_KIND, found=f"a quote of {quote.tee}", wanted=f"a quote of {cpu.tee}")
    return quote


def requirement(quote: Quote, pck: PckChain) -> Requirement:
    """Return which collateral is needed. Only authenticated identifiers get into it."""
    return Requirement(quote.tee, pck.claims.fmspc, pck.claims.pck_ca)


def appraise(  # noqa: PLR0913 - each input of a verdict is named
    quote: Quote,
    *,
    evidence: Evidence | None,
    event_log: bytes | None,
    attestation_key: AttestationKey,
    collateral: Collateral,
    policy: AppraisalPolicy,
    registry_id: str,
    approved_models: frozenset[bytes],
    at: datetime,
) -> AttestationResult:
    """Verify a quote and appraise it under `policy` at the time `at`.

    With `evidence`, its key, challenge and models are bound to the report, for the registry of that id; without, the
    quote stands for itself. `approved_models` are the digests that the registry approves.

    (1) The quote is authentic. (2) The report commits to the key. (3) The event log replays. (4) The policy's findings.

    Raises `NotAuthentic`, `EndorsementRejected` or, for the event log and the key, `Malformed`.
    """
    claims = verify(quote, attestation_key, collateral, at)  # (1)
    bound = None
    if evidence is not None:  # (2)
        bound = verify_binding(evidence, registry_id=registry_id, report_data=claims.report_data, at=at)
    replayed = replay_event_log(claims, event_log)  # (3)
    facts = Facts(
        event_log_replayed=replayed is not None,
        collateral_issued_at=min(collateral.tcb_info.validity.not_before, collateral.qe_identity.validity.not_before),
        key=_key_facts(bound, approved_models),
    )
    appraisal = appraise_policy(policy, claims, facts, at)  # (4)
    not_after = appraisal.not_after
    if bound is not None and bound.validity is not None:
        not_after = min(not_after, bound.validity.not_after)
    return AttestationResult(
        at=at,
        claims=claims,
        appraisal=appraisal,
        bound=bound,
        event_log=replayed,
        not_after=not_after,
        simulated=attestation_key.pck.root.fingerprint != INTEL_SGX_ROOT_CA,
    )


def export_claims(claims: CpuClaims) -> dict[str, Json]:
    """Return what was verified, as both interfaces show it."""
    return {
        "tee": claims.tee,
        "evidence_id": dump_digest(claims.evidence_id),
        "tcb": export_tcb(claims.tcb),
        "claims": export(claims),
        "flags": list(claims.flags),
        "endorsements": [dump_digest(digest) for digest in claims.endorsement_digests],
    }


def export_result(result: AttestationResult) -> dict[str, Json]:
    """Return the whole result. It identifies the platform: for the provider and for auditors, not for everybody."""
    return {
        **export_claims(result.claims),
        "at": dump_time(result.at),
        "valid_until": dump_time(result.not_after),
        "tier": result.tier.value,
        "simulated": result.simulated,
        "appraisal": export_appraisal(result.appraisal),
        "key": _export_key(result.bound),
        "event_log": None if result.event_log is None else export_event_log(result.event_log),
    }


def _export_key(bound: Bound | None) -> Json:
    if bound is None:
        return None
    return {
        "key_id": bound.key_id.hex(),
        "spki": dump_base64(bound.spki),
        "algorithm": bound.algorithm.value,
        "scheme": bound.scheme.value,
        "binding": bound.grade.value,
        "proof_of_possession": bound.proof_of_possession,
        "report_is_fresh": bound.report_is_fresh,
        "models": [dump_digest(digest) for digest in bound.models],
        "role": bound.role,
    }


def replay_event_log(claims: CpuClaims, event_log: bytes | None) -> EventLogClaims | None:
    """Verify the event log that came with a quote, if one came. Raises as `verify_event_log` does."""
    if event_log is None:
        return None
    if not isinstance(claims, TdxClaims):
        raise NotAuthentic(Reason.EVENT_LOG_MISMATCH, found="an event log beside an SGX quote", wanted="none")
    return verify_event_log(event_log, (claims.rtmr0, claims.rtmr1, claims.rtmr2, claims.rtmr3))


def _key_facts(bound: Bound | None, approved_models: frozenset[bytes]) -> KeyFacts | None:
    if bound is None:
        return None
    return KeyFacts(
        binding=bound.scheme,
        algorithm=bound.algorithm,
        role=bound.role,
        models=bound.models,
        approved_models=approved_models,
    )
