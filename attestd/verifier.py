"""The verifier: from evidence to an attestation result, as pure functions of bytes, endorsements, policy and one time.

    parse_evidence    the quote or report in the evidence, of the TEE that was named
    requirement       which collateral a quote needs, once its PCK chain is authenticated
    verify_subject    what is true of the evidence with its authenticated endorsements
    appraise          verification, binding, policy: the result

The registrar calls them with what it holds in its caches, `attestd verify` with files; nothing else leads to a result.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, TypeAlias, assert_never

from attestd.binding.verify import BindingGrade, Bound, quote_of, verify_binding
from attestd.claims import CpuClaims, GpuClaims, PckCa, SnpClaims, TdxClaims, export, export_gpu, export_tcb
from attestd.codec import Json, dump_base64, dump_digest, dump_time
from attestd.errors import Malformed, NotAuthentic, Reason
from attestd.evidence import CpuEvidence, Evidence, HclEvidence, IntelTee, QuoteEvidence, RaTlsEvidence, SnpEvidence
from attestd.nvgpu.attestation import GpuAttestation
from attestd.nvgpu.device import GpuDevice
from attestd.nvgpu.golden import Rims
from attestd.nvgpu.topology import Member, Topology, export_topology, verify_topology
from attestd.nvgpu.verify import Revocations
from attestd.nvgpu.verify import verify as verify_gpu_report
from attestd.policy import AppraisalPolicy, Facts, KeyFacts
from attestd.policy import appraise as appraise_policy
from attestd.result import Appraisal, Tier, export_appraisal
from attestd.snp.attestation import SnpAttestation, parse_attestation
from attestd.snp.vek import Vek
from attestd.snp.verify import verify as verify_report
from attestd.snp.vtpm import VtpmClaims, export_vtpm, verify_vtpm
from attestd.tdx.collateral import Collateral
from attestd.tdx.eventlog import EventLogClaims, export_event_log, verify_event_log
from attestd.tdx.pck import PckChain
from attestd.tdx.qe import AttestationKey
from attestd.tdx.quote import Quote, parse_quote
from attestd.tdx.verify import verify as verify_quote
from attestd.x509 import GENUINE_ROOTS, Certificate, RevocationList


@dataclass(frozen=True, slots=True)
class Requirement:
    """Which collateral a quote needs: one TCB Info, one QE Identity and one PCK CRL, with the root's CRL."""

    tee: IntelTee
    fmspc: bytes  # 6 bytes
    pck_ca: PckCa


@dataclass(frozen=True, slots=True)
class IntelSubject:
    """A quote with all that it is verified with."""

    quote: Quote
    event_log: bytes | None
    attestation_key: AttestationKey
    collateral: Collateral

    @property
    def root(self) -> Certificate:
        """The pinned root of its platform."""
        return self.attestation_key.pck.root


@dataclass(frozen=True, slots=True)
class AmdSubject:
    """A report with all that it is verified with. Whether it takes a CRL is for the policy."""

    attestation: SnpAttestation
    vek: Vek
    crl: RevocationList | None

    @property
    def root(self) -> Certificate:
        """The pinned root of its platform."""
        return self.vek.root


@dataclass(frozen=True, slots=True)
class GpuSubject:
    """The report of a GPU or NVSwitch with all that it is verified with."""

    attestation: GpuAttestation
    device: GpuDevice
    rims: Rims
    revocations: Revocations

    @property
    def roots(self) -> Iterator[Certificate]:
        """The pinned roots of the device and of its RIMs."""
        chains = (self.device.chain, *(rim.chain for rim in self.rims if rim is not None))
        return (chain[-1] for chain in chains)


Attestation: TypeAlias = Quote | SnpAttestation
Subject: TypeAlias = IntelSubject | AmdSubject


class Verified(NamedTuple):
    """What is true of a piece of evidence, whatever any policy says of it."""

    claims: CpuClaims
    event_log: EventLogClaims | None
    vtpm: VtpmClaims | None
    collateral_issued_at: datetime | None  # None: there is no CRL
    gpus: tuple[GpuClaims, ...]
    topology: Topology | None  # None: there are no GPUs

    @property
    def evidence_id(self) -> bytes:
        """The digest of the authenticated bytes."""
        return self.claims.evidence_id if self.vtpm is None else self.vtpm.evidence_id

    @property
    def report_data(self) -> bytes:
        """What the attester had signed: report data, or what Azure's vTPM quote carries in its place."""
        return self.claims.report_data if self.vtpm is None else self.vtpm.extra_data


class AttestationResult(NamedTuple):
    """What attestd says of one piece of evidence at one time. Made last, of nothing but verified parts."""

    at: datetime
    verified: Verified
    appraisal: Appraisal
    bound: Bound | None  # None: bare evidence, of which nothing may be registered
    not_after: datetime  # until when it may be relied on
    simulated: bool  # the platform's root is not its vendor's

    @property
    def tier(self) -> Tier:
        """The verdict of the policy."""
        return self.appraisal.tier

    @property
    def claims(self) -> CpuClaims:
        """What the CPU's evidence was verified to say."""
        return self.verified.claims


def parse_evidence(cpu: CpuEvidence) -> Attestation:
    """Parse the quote or report in `cpu`.

    Raises `Malformed`, with `evidence.kind` where it is of another TEE than was named.
    """
    match cpu:
        case SnpEvidence() | HclEvidence():
            return parse_attestation(cpu)
        case QuoteEvidence() | RaTlsEvidence():
            quote = parse_quote(quote_of(cpu))
            if quote.tee != cpu.tee:
                raise Malformed(Reason.EVIDENCE_KIND, found=f"a quote of {quote.tee}", wanted=f"a quote of {cpu.tee}")
            return quote
        case _:
            assert_never(cpu)


def requirement(quote: Quote, pck: PckChain) -> Requirement:
    """Return which collateral is needed. Only authenticated identifiers get into it."""
    return Requirement(quote.tee, pck.claims.fmspc, pck.claims.pck_ca)


def verify_subject(subject: Subject, gpus: Sequence[GpuSubject], at: datetime) -> Verified:
    """Verify evidence with its authenticated endorsements at the time `at`: of the CPU, and of all GPUs beside it.

    Raises `NotAuthentic`, `EndorsementRejected`, `Unavailable` (`gpu.rim_missing`) or, for an event log, `Malformed`.
    """
    match subject:
        case IntelSubject():
            collateral = subject.collateral
            claims: CpuClaims = verify_quote(subject.quote, subject.attestation_key, collateral, at)
            replayed = _replay_event_log(claims, subject.event_log)
            vtpm = None
            issued: datetime | None = min(
                collateral.tcb_info.validity.not_before, collateral.qe_identity.validity.not_before
            )
        case AmdSubject():
            attestation, crl = subject.attestation, subject.crl
            claims = verify_report(attestation.report, subject.vek, crl, at)
            replayed = None
            vtpm = None if attestation.vtpm is None else verify_vtpm(claims, *attestation.vtpm)
            issued = None if crl is None else crl.validity.not_before
        case _:
            assert_never(subject)
    return Verified(claims, replayed, vtpm, issued, *verify_gpus(gpus, at))


def verify_gpus(gpus: Sequence[GpuSubject], at: datetime) -> tuple[tuple[GpuClaims, ...], Topology | None]:
    """Verify all GPUs and NVSwitches of one machine, if there are any. Raises as `verify_subject` does."""
    if not gpus:
        return (), None
    topology = verify_topology([_member(gpu) for gpu in gpus])
    return tuple([verify_gpu(gpu, at) for gpu in gpus]), topology


def verify_gpu(gpu: GpuSubject, at: datetime) -> GpuClaims:
    """Verify one GPU or NVSwitch by itself. Raises as `verify_subject` does."""
    if gpu.attestation.arch is not gpu.device.arch:
        raise NotAuthentic(
            Reason.GPU_DEVICE_KIND,
            found=f"a device named {gpu.attestation.arch}",
            wanted=f"{gpu.device.arch}, as its certificates say",
        )
    return verify_gpu_report(gpu.attestation.report, gpu.device, gpu.rims, gpu.revocations, at)


def _member(gpu: GpuSubject) -> Member:
    return Member(gpu.device.arch, gpu.device.device_id, gpu.device.pdi, gpu.attestation.report.opaque)


def appraise(  # noqa: PLR0913 - each input of a verdict is named
    subject: Subject,
    *,
    gpus: Sequence[GpuSubject],
    evidence: Evidence | None,
    policy: AppraisalPolicy,
    registry_id: str,
    approved_models: frozenset[bytes],
    approved_images: Mapping[bytes, frozenset[str]],
    at: datetime,
) -> AttestationResult:
    """Verify evidence and appraise it under `policy` at the time `at`.

    With `evidence`, its key, challenge and models are bound to the report, for the registry of that id, and `gpus` are
    its GPUs, in its order; without, the reports stand for themselves. `approved_models` are the digests that the
    registry approves, `approved_images` likewise, with the roles that each is approved for; what is not among them
    counts as not approved.

    (1) The reports are authentic, and what came with them agrees. (2) They commit to the key. (3) The findings.

    Raises `NotAuthentic`, `EndorsementRejected`, `Unavailable` (`gpu.rim_missing`) or, for the event log and the key,
    `Malformed`.
    """
    verified = verify_subject(subject, gpus, at)  # (1)
    bound = None
    if evidence is not None:  # (2)
        nonces = [gpu.nonce for gpu in verified.gpus]
        bound = verify_binding(
            evidence, registry_id=registry_id, report_data=verified.report_data, gpu_nonces=nonces, at=at
        )
    facts = Facts(
        verified.event_log is not None,
        verified.collateral_issued_at,
        approved_images,
        _key_facts(bound, approved_models),
        verified.vtpm,
        verified.gpus,
        verified.topology,
        BindingGrade.NONE if bound is None else bound.grade,
    )
    appraisal = appraise_policy(policy, verified.claims, facts, at)  # (3)
    not_after, roots = appraisal.not_after, [subject.root]
    for gpu, claims in zip(gpus, verified.gpus, strict=True):
        not_after = min(not_after, claims.validity.not_after)
        roots += gpu.roots
    if bound is not None and bound.validity is not None:
        not_after = min(not_after, bound.validity.not_after)
    simulated = not {root.fingerprint for root in roots} <= GENUINE_ROOTS.keys()
    return AttestationResult(at, verified, appraisal, bound, not_after, simulated)


def export_verified(verified: Verified) -> dict[str, Json]:
    """Return what was verified, as both interfaces show it."""
    claims, event_log, vtpm = verified.claims, verified.event_log, verified.vtpm
    return {
        "tee": claims.tee,
        "evidence_id": dump_digest(verified.evidence_id),
        "tcb": None if isinstance(claims, SnpClaims) else export_tcb(claims.tcb),
        "claims": export(claims),
        "flags": list(claims.flags),
        "endorsements": [dump_digest(digest) for digest in claims.endorsement_digests],
        "event_log": None if event_log is None else export_event_log(event_log),
        "vtpm": None if vtpm is None else export_vtpm(vtpm),
        "gpus": [export_gpu(gpu) for gpu in verified.gpus],
        "topology": None if verified.topology is None else export_topology(verified.topology),
    }


def export_result(result: AttestationResult) -> dict[str, Json]:
    """Return the whole result. It identifies the platform: for the provider and for auditors, not for everybody."""
    return {
        **export_verified(result.verified),
        "at": dump_time(result.at),
        "valid_until": dump_time(result.not_after),
        "tier": result.tier.value,
        "simulated": result.simulated,
        "appraisal": export_appraisal(result.appraisal),
        "key": export_bound(result.bound),
    }


def export_bound(bound: Bound | None) -> Json:
    """Return what is known of the key, or null where none was bound."""
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


def _replay_event_log(claims: CpuClaims, event_log: bytes | None) -> EventLogClaims | None:
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
