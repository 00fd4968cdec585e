"""From evidence to a result: what is joined, in which order, and what the result says of itself."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest

from attestd.binding.verify import BindingGrade, quote_of
from attestd.claims import GpuArch, PckCa, SnpClaims, export, export_gpu
from attestd.codec import dump_base64, dump_digest
from attestd.errors import Reason, Unavailable
from attestd.evidence import (
    Evidence,
    GpuEvidence,
    HclEvidence,
    KeyEvidence,
    QuoteEvidence,
    RaTlsEvidence,
    Scheme,
    SnpEvidence,
)
from attestd.nvgpu.attestation import parse_gpu
from attestd.nvgpu.golden import Rims
from attestd.nvgpu.topology import export_topology
from attestd.nvgpu.verify import Revocations
from attestd.policy import AppraisalPolicy, Check
from attestd.result import Tier
from attestd.simulator import (
    AT,
    BOOT,
    DSTACK_BOOT,
    GpuAttester,
    KeyPair,
    NvidiaVendor,
    Registry,
    TdReport,
    answers,
    bits,
    ccel,
    dstack_log,
    flip,
    gpu_set,
)
from attestd.snp.attestation import parse_attestation
from attestd.snp.report import parse_report
from attestd.snp.vek import Vek
from attestd.snp.vtpm import export_vtpm
from attestd.tdx.collateral import RawCollateral
from attestd.verifier import (
    AmdSubject,
    AttestationResult,
    GpuSubject,
    IntelSubject,
    Requirement,
    appraise,
    export_result,
    export_verified,
    parse_evidence,
    requirement,
    verify_subject,
)
from attestd.x509 import Certificate, RevocationList, TrustAnchors
from tests.evidence import ROOT, intel_case
from tests.nvgpu import baseline as nvgpu
from tests.policy import factory
from tests.refusals import malformed, not_authentic, refused, rejected
from tests.snp import baseline as snp
from tests.snp.test_attestation import azure
from tests.snp.test_hcl import NONCE, Attest
from tests.tdx.baseline import (
    ANCHORS,
    ATTESTER,
    COLLATERAL,
    QUOTE,
    SGX_ATTESTER,
    SGX_COLLATERAL,
    SGX_QUOTE,
    VENDOR,
    authenticated,
    collateral_of,
    quote,
)

STRICT = AppraisalPolicy.load((ROOT / "policies/strict-tdx.toml").read_bytes())
KEY, REGISTRY = KeyPair.ed25519(), Registry()
MODEL = sha256(b"model").digest()
EVIDENCE = ATTESTER.evidence(KEY, REGISTRY, [MODEL], event_log=ccel())
SECOND = timedelta(seconds=1)


def appraised(
    evidence: Evidence | bytes = EVIDENCE,
    collateral: RawCollateral = COLLATERAL,
    *,
    anchors: TrustAnchors = ANCHORS,
    at: datetime = AT,
    event_log: bytes | None = None,
    **changes: Any,
) -> AttestationResult:
    """Go the whole way with evidence, or with a bare quote."""
    bare = isinstance(evidence, bytes)
    raw = evidence if isinstance(evidence, bytes) else quote_in(evidence)
    log = event_log if isinstance(evidence, bytes) else evidence.cpu.event_log
    parsed, key = authenticated(raw, anchors, at)
    subject = IntelSubject(parsed, log, key, collateral_of(collateral, anchors, at))
    arguments: dict[str, Any] = {
        "gpus": (),
        "evidence": None if bare else evidence,
        "policy": STRICT,
        "registry_id": REGISTRY.registry_id,
        "approved_models": frozenset({MODEL}),
        "approved_images": {},
        "at": at,
    }
    return appraise(subject, **(arguments | changes))


def quote_in(evidence: Evidence) -> bytes:
    assert isinstance(evidence.cpu, QuoteEvidence | RaTlsEvidence)
    return quote_of(evidence.cpu)


def failing(result: AttestationResult) -> list[str]:
    return [finding.check for finding in result.appraisal.findings if finding.outcome is not Tier.AFFIRMING]


def test_evidence_names_its_tee() -> None:
    assert parse_evidence(QuoteEvidence(tee="tdx", quote=QUOTE)).tee == "tdx"
    assert parse_evidence(QuoteEvidence(tee="sgx", quote=SGX_QUOTE)).tee == "sgx"
    for wrong in (QuoteEvidence(tee="sgx", quote=QUOTE), QuoteEvidence(tee="tdx", quote=SGX_QUOTE)):
        with malformed(Reason.EVIDENCE_KIND):
            parse_evidence(wrong)
    certificate = ATTESTER.cocoon_evidence(KEY, REGISTRY).cpu
    assert parse_evidence(certificate).tee == "tdx"


def test_evidence_of_amd_is_of_snp() -> None:
    for cpu in (SnpEvidence(report=snp.REPORT), azure()):
        assert parse_evidence(cpu) == parse_attestation(cpu)
        assert parse_evidence(cpu).tee == "snp"
    # A quote is no report, whatever it is called.
    with malformed(Reason.SNP_CERT_TABLE):
        parse_evidence(SnpEvidence(report=snp.REPORT + QUOTE))
    with malformed(Reason.SNP_REPORT_VERSION):
        parse_evidence(SnpEvidence(report=QUOTE))
    with malformed(Reason.TDX_ATTESTATION_KEY_TYPE):
        parse_evidence(QuoteEvidence(tee="tdx", quote=snp.REPORT))


def test_what_is_needed() -> None:
    parsed, key = authenticated(QUOTE)
    assert requirement(parsed, key.pck) == Requirement("tdx", ATTESTER.platform.fmspc, PckCa.PLATFORM)
    parsed, key = authenticated(SGX_QUOTE)
    assert requirement(parsed, key.pck) == Requirement("sgx", SGX_ATTESTER.platform.fmspc, PckCa.PROCESSOR)


def test_result() -> None:
    result = appraised()
    assert (result.at, result.tier, result.simulated) == (AT, Tier.AFFIRMING, True)
    assert result.verified.evidence_id == result.claims.evidence_id
    assert result.verified.report_data == result.claims.report_data
    assert result.bound is not None
    assert (result.bound.spki, result.bound.models) == (KEY.spki, (MODEL,))
    assert result.verified.event_log is not None
    assert result.verified.vtpm is None
    # A day, the policy's maximum age, is less than the life of the collateral.
    assert result.not_after == AT + timedelta(days=1)


def test_bare_quote_binds_nothing() -> None:
    result = appraised(QUOTE)
    assert (result.tier, result.bound, result.verified.event_log) == (Tier.AFFIRMING, None, None)
    assert not {Check.BINDING, Check.MODELS, Check.KEY_ALGORITHM} & {one.check for one in result.appraisal.findings}


def test_not_acceptable_is_a_result_all_the_same() -> None:
    debug = appraised(ATTESTER.evidence(KEY, REGISTRY, body=TdReport(td_attributes=bits(0, 28))))
    assert debug.tier is Tier.CONTRAINDICATED
    unknown_model = appraised(approved_models=frozenset())
    assert [one.check for one in unknown_model.appraisal.findings if one.outcome is not Tier.AFFIRMING] == [
        Check.MODELS
    ]


def test_first_fault_first() -> None:
    """(1) the quote, then the event log, (2) the binding: each hides those behind it, and no policy is asked."""
    other = KeyPair.ed25519("other")
    wrong_key = replace(EVIDENCE, key=KeyEvidence(spki=other.spki, proof=other.sign(b"")))
    with not_authentic(Reason.BINDING_REPORT_DATA):
        appraised(wrong_key)
    quote_alone = QuoteEvidence(tee="tdx", quote=quote_in(EVIDENCE), event_log=ccel(BOOT[1:]))
    for evidence in (EVIDENCE, wrong_key):
        with not_authentic(Reason.EVENT_LOG_MISMATCH):
            appraised(replace(evidence, cpu=quote_alone))
    forged = replace(quote_alone, quote=flip(600)(quote_alone.quote))
    with not_authentic(Reason.TDX_QUOTE_SIGNATURE):
        appraised(replace(wrong_key, cpu=forged))


def test_proof_is_by_the_key_and_for_this_registry() -> None:
    with not_authentic(Reason.BINDING_PROOF):
        appraised(replace(EVIDENCE, key=replace(EVIDENCE.key, proof=KeyPair.ed25519("other").sign(b""))))
    with not_authentic(Reason.BINDING_REPORT_DATA):
        appraised(registry_id="another registry")


@pytest.mark.parametrize("log", [ccel(), dstack_log(BOOT)])
def test_event_log_counts_only_where_it_replays(log: bytes) -> None:
    required = factory.load(edits={"tdx.event_log": '"required"'})
    assert appraised(QUOTE, policy=required, event_log=log).tier is Tier.AFFIRMING
    without = appraised(QUOTE, policy=required)
    assert failing(without) == [Check.EVENT_LOG]
    with malformed(Reason.EVENT_LOG_MALFORMED):
        appraised(QUOTE, event_log=b"")


def test_event_log_beside_an_enclave() -> None:
    assert appraised(SGX_QUOTE, SGX_COLLATERAL).tier is Tier.AFFIRMING
    with not_authentic(Reason.EVENT_LOG_MISMATCH):
        appraised(SGX_QUOTE, SGX_COLLATERAL, event_log=ccel())


def test_collateral_of_another_tee() -> None:
    with rejected(Reason.TDX_PCK_CRL_ISSUER):
        appraised(QUOTE, SGX_COLLATERAL)


def test_age_of_collateral_is_that_of_the_older_document() -> None:
    def issued(days: int) -> Callable[[dict[str, Any]], object]:
        return lambda document: document.update(issueDate=f"{AT - timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}")

    week = factory.load(edits={"max_collateral_age_seconds": str(7 * 86400)})
    for info, identity, tier in (
        (7, 7, Tier.AFFIRMING),
        (8, 6, Tier.CONTRAINDICATED),
        (6, 8, Tier.CONTRAINDICATED),
    ):
        raw = replace(
            COLLATERAL, tcb_info=VENDOR.tcb_info(issued(info)), qe_identity=VENDOR.qe_identity(issued(identity))
        )
        assert appraised(QUOTE, raw, policy=week).tier is tier


def test_result_ends_with_its_certificate() -> None:
    cocoon = ATTESTER.cocoon_evidence(KEY, REGISTRY)
    result = appraised(cocoon, policy=factory.load())
    assert result.bound is not None
    assert result.bound.validity is not None
    assert result.not_after == result.bound.validity.not_after < result.appraisal.not_after
    # And with the policy where that ends sooner.
    hour = appraised(cocoon, policy=factory.load(edits={"max_age_seconds": "3600"}))
    assert hour.not_after == AT + timedelta(hours=1)


def test_result_ends_with_the_collateral() -> None:
    assert appraised(QUOTE, policy=factory.load()).not_after == VENDOR.next_update


def test_genuine_hardware_is_not_simulated() -> None:
    case = intel_case("real/tdx-v4-90c06f-cocoon")
    cocoon = AppraisalPolicy.load((ROOT / "policies/cocoon-tdx.toml").read_bytes())
    result = appraised(case.read("quote.bin"), case.collateral, anchors=case.anchors, at=case.at, policy=cocoon)
    assert (result.simulated, result.tier) == (False, Tier.AFFIRMING)


def test_export() -> None:
    result = appraised()
    exported = export_result(result)
    assert exported.keys() == {
        *export_verified(result.verified),
        *("at", "valid_until", "tier", "simulated", "appraisal", "key"),
    }
    assert exported["tee"] == "tdx"
    assert exported["evidence_id"] == dump_digest(result.verified.evidence_id)
    assert exported["endorsements"] == [dump_digest(digest) for digest in COLLATERAL.digests]
    assert (exported["at"], exported["valid_until"]) == ("2026-06-01T12:00:00Z", "2026-06-02T12:00:00Z")
    assert exported["key"] == {
        "key_id": sha256(KEY.spki).hexdigest(),
        "spki": dump_base64(KEY.spki),
        "algorithm": "Ed25519",
        "scheme": "attestd/v1",
        "binding": "none",
        "proof_of_possession": True,
        "report_is_fresh": True,
        "models": [dump_digest(MODEL)],
        "role": None,
    }
    assert json.loads(json.dumps(exported)) == exported


def test_export_of_a_bare_quote() -> None:
    exported = export_result(appraised(quote(TdReport(td_attributes=bits(28, 30)))))
    assert (exported["key"], exported["event_log"], exported["flags"]) == (None, None, ["pks"])


def test_export_of_an_enclave() -> None:
    exported = export_result(appraised(SGX_QUOTE, SGX_COLLATERAL))
    assert (exported["tee"], exported["tier"]) == ("sgx", "affirming")


def test_export_of_runtime_events() -> None:
    body = TdReport().booted(DSTACK_BOOT)
    evidence = ATTESTER.evidence(KEY, REGISTRY, body=body, event_log=dstack_log())
    log = export_result(appraised(evidence))["event_log"]
    assert isinstance(log, dict)
    assert log["rtmr3_matches"] is True


# ---------------------------------------------------------------------------------------------------------------------
# SEV-SNP


def amd(
    cpu: SnpEvidence | HclEvidence = SnpEvidence(report=snp.REPORT),  # noqa: B008 - frozen
    vek: Vek = snp.VEK,
    crl: RevocationList | None = snp.CRL,
) -> AmdSubject:
    return AmdSubject(parse_attestation(cpu), vek, crl)


def test_report() -> None:
    verified = verify_subject(amd(), (), snp.AT)
    assert verified.claims == snp.verified()
    assert (verified.event_log, verified.vtpm) == (None, None)
    assert verified.collateral_issued_at == snp.CRL.validity.not_before
    assert verified.evidence_id == parse_report(snp.REPORT).evidence_id
    assert verified.report_data == b"r" * 64


def test_report_without_a_crl() -> None:
    """Whether that will do is for the policy, which is told."""
    verified = verify_subject(amd(crl=None), (), snp.AT)
    assert isinstance(verified.claims, SnpClaims)
    assert (verified.claims.crl_checked, verified.collateral_issued_at) == (False, None)


def test_each_part_of_a_report_is_verified() -> None:
    with not_authentic(Reason.SNP_REPORT_SIGNATURE):
        verify_subject(amd(SnpEvidence(report=flip(0x90)(snp.REPORT))), (), snp.AT)
    with not_authentic(Reason.SNP_SIGNING_KEY_MISMATCH):
        verify_subject(amd(vek=snp.VLEK), (), snp.AT)
    with not_authentic(Reason.SNP_ASK_REVOKED):
        revoked = replace(snp.CRL, revoked=frozenset({snp.VEK.issuer.serial_number}))
        verify_subject(amd(crl=revoked), (), snp.AT)
    with not_authentic(Reason.SNP_VEK_EXPIRED):
        verify_subject(amd(crl=None), (), snp.VEK.validity.not_after + SECOND)
    with rejected(Reason.SNP_CRL_EXPIRED):
        verify_subject(amd(), (), snp.CRL.validity.not_after + SECOND)


def test_quote_of_a_vtpm() -> None:
    """It answers in the place of the report, under an id of its own."""
    cpu = azure()
    verified = verify_subject(amd(cpu), (), snp.AT)
    assert verified.vtpm is not None
    assert isinstance(verified.claims, SnpClaims)
    assert verified.evidence_id == parse_attestation(cpu).evidence_id == verified.vtpm.evidence_id
    assert verified.evidence_id != verified.claims.evidence_id
    assert verified.report_data == NONCE
    assert verified.claims.report_data != NONCE


def test_the_report_is_verified_before_the_vtpm() -> None:
    forged = azure()
    forged = replace(forged, tpm_quote=replace(forged.tpm_quote, signature=bytes(256)))
    with not_authentic(Reason.SNP_VTPM_QUOTE_SIGNATURE):
        verify_subject(amd(forged), (), snp.AT)
    with not_authentic(Reason.SNP_SIGNING_KEY_MISMATCH):
        verify_subject(amd(forged, vek=snp.VLEK), (), snp.AT)


def test_root_of_each_vendor() -> None:
    parsed, key = authenticated(QUOTE)
    assert IntelSubject(parsed, None, key, collateral_of(COLLATERAL, ANCHORS, AT)).root.der == VENDOR.root.der
    assert amd().root == snp.GENOA_ROOT


def test_export_of_a_report() -> None:
    verified = verify_subject(amd(), (), snp.AT)
    exported = export_verified(verified)
    assert exported == {
        "tee": "snp",
        "evidence_id": dump_digest(verified.evidence_id),
        "tcb": None,
        "claims": export(verified.claims),
        "flags": [],
        "endorsements": [dump_digest(digest) for digest in (*snp.VEK.digests, snp.CRL.digest)],
        "event_log": None,
        "vtpm": None,
        "gpus": [],
        "topology": None,
    }
    assert json.loads(json.dumps(exported)) == exported


def test_export_of_a_quote_of_a_vtpm() -> None:
    verified = verify_subject(amd(azure()), (), snp.AT)
    exported = export_verified(verified)
    assert verified.vtpm is not None
    assert exported["vtpm"] == export_vtpm(verified.vtpm)
    assert exported["evidence_id"] == dump_digest(verified.vtpm.evidence_id)
    assert json.loads(json.dumps(exported)) == exported


def test_report_is_appraised() -> None:
    policy = factory.load(factory.SNP, {"snp.crl": '"require"'})
    result = appraise_report(amd(), policy)
    assert (result.tier, result.bound, result.simulated) == (
        Tier.AFFIRMING,
        None,
        False,
    )  # the baseline's root is AMD's
    assert result.not_after == snp.CRL.validity.not_after
    exported = export_result(result)
    assert (exported["tee"], exported["tcb"], exported["vtpm"]) == ("snp", None, None)
    without = appraise_report(amd(crl=None), policy)
    assert failing(without) == [Check.CRL]
    lax = appraise_report(amd(crl=None), factory.load(factory.SNP))
    assert (lax.tier, lax.not_after) == (Tier.AFFIRMING, snp.VEK.validity.not_after)


def test_report_counts_for_no_other_section() -> None:
    assert failing(appraise_report(amd(), STRICT)) == [Check.TEE]


@pytest.mark.parametrize("scheme", [Scheme.ATTESTD_V1, Scheme.SPKI_SHA256, Scheme.NONCE_AND_KEY])
def test_key_is_bound_to_a_report(scheme: Scheme) -> None:
    report_data = REGISTRY.report_data(KEY, [MODEL], scheme)
    cpu = SnpEvidence(report=snp.report(report_data=report_data))
    result = appraise_report(amd(cpu), factory.load(factory.SNP), evidence_of(cpu, scheme))
    assert result.bound is not None
    assert (result.bound.spki, result.tier) == (KEY.spki, Tier.AFFIRMING)
    with not_authentic(Reason.BINDING_REPORT_DATA):
        appraise_report(amd(), factory.load(factory.SNP), evidence_of(cpu, scheme))


def test_key_is_bound_to_a_quote_of_a_vtpm() -> None:
    """By what the vTPM's quote carries; the paravisor's report data is of something else."""
    policy = factory.load(factory.SNP, {"snp.images": f"[{factory.image(**PARAVISOR)}]"})
    report_data = REGISTRY.report_data(KEY, [MODEL])
    cpu = azure(attest=Attest(extra_data=sha256(report_data).digest()))
    result = appraise_report(amd(cpu), policy, evidence_of(cpu))
    assert result.bound is not None
    assert (result.bound.spki, result.tier) == (KEY.spki, Tier.AFFIRMING)
    exported = export_result(result)
    assert isinstance(exported["vtpm"], dict)
    assert exported["evidence_id"] == dump_digest(parse_attestation(cpu).evidence_id)
    for extra_data in (NONCE, report_data, b""):
        other = azure(attest=Attest(extra_data=extra_data))
        with not_authentic(Reason.BINDING_REPORT_DATA):
            appraise_report(amd(other), policy, evidence_of(other))


PARAVISOR: dict[str, Any] = {
    "measurement": f'"{(b"m" * 48).hex()}"',
    **dict.fromkeys(("host_data", "family_id", "image_id"), '"any"'),
    "min_guest_svn": 0,
}


def evidence_of(cpu: SnpEvidence | HclEvidence, scheme: Scheme = Scheme.ATTESTD_V1) -> Evidence:
    proof = KEY.sign(REGISTRY.context(KEY, [MODEL]))
    key = KeyEvidence(spki=KEY.spki, proof=proof)
    return Evidence(challenge=REGISTRY.challenge, binding=scheme, key=key, models=(MODEL,), cpu=cpu)


def appraise_report(
    subject: AmdSubject,
    policy: AppraisalPolicy,
    evidence: Evidence | None = None,
    gpus: Sequence[GpuSubject] = (),
) -> AttestationResult:
    return appraise(
        subject,
        gpus=gpus,
        evidence=evidence,
        policy=policy,
        registry_id=REGISTRY.registry_id,
        approved_models=frozenset({MODEL}),
        approved_images={},
        at=snp.AT,
    )


# ---------------------------------------------------------------------------------------------------------------------
# GPUs beside a CPU

TWO = gpu_set(2)
STRANGER = GpuAttester.of(NvidiaVendor.of("HOPPER"), TWO[0].gpu.numbered(7))
GPU_NONCE = REGISTRY.gpu_nonce(KEY, [MODEL])
SAID = answers(TWO, GPU_NONCE)
COMPOSITE = ATTESTER.evidence(KEY, REGISTRY, [MODEL], gpus=SAID)


def gpu_subjects(
    evidence: Sequence[GpuEvidence] = COMPOSITE.gpus,
    rims: Rims | None = None,
    revocations: Revocations = Revocations(),  # noqa: B008 - a tuple
) -> tuple[GpuSubject, ...]:
    """Authenticate what came with evidence; the RIMs are those of an H100."""
    parsed = map(parse_gpu, evidence)
    held = nvgpu.rims_of() if rims is None else rims
    return tuple(GpuSubject(one, nvgpu.device_of(one.chain), held, revocations) for one in parsed)


def intel(evidence: Evidence = COMPOSITE) -> IntelSubject:
    parsed, key = authenticated(quote_in(evidence), ANCHORS, AT)
    return IntelSubject(parsed, None, key, collateral_of(COLLATERAL, ANCHORS, AT))


def test_gpus_are_taken_apart() -> None:
    for said, sent in zip(SAID, COMPOSITE.gpus, strict=True):
        parsed = parse_gpu(sent)
        assert (parsed.arch, parsed.chain, parsed.report.nonce) == (GpuArch.HOPPER, said.chain, GPU_NONCE)
    with malformed(Reason.PEM_MALFORMED):
        _ = parse_gpu(replace(COMPOSITE.gpus[0], certificates=b"certificates")).chain
    with malformed(Reason.GPU_REPORT_SIZE):
        parse_gpu(replace(COMPOSITE.gpus[0], report=b"report"))


def test_gpus() -> None:
    verified = verify_subject(intel(), gpu_subjects(), AT)
    assert verified.gpus == tuple(nvgpu.verified(gpu, said.report) for gpu, said in zip(TWO, SAID, strict=True))
    assert verified.topology is not None
    assert verified.topology.gpus == tuple(gpu.gpu.pdi for gpu in TWO)
    # And in the order in which they came.
    reverse = verify_subject(intel(), gpu_subjects()[::-1], AT)
    assert reverse.gpus == verified.gpus[::-1]
    assert reverse.topology == verified.topology._replace(gpus=verified.topology.gpus[::-1])
    alone = verify_subject(intel(), (), AT)
    assert (alone.gpus, alone.topology) == ((), None)
    assert alone == verified._replace(gpus=(), topology=None)


def test_gpus_beside_a_report() -> None:
    verified = verify_subject(amd(), gpu_subjects(), snp.AT)
    assert verified.claims == snp.verified()
    assert len(verified.gpus) == 2


@pytest.mark.parametrize("place", [0, 1])
def test_each_gpu_is_verified(place: int) -> None:
    def changed(**edit: Any) -> tuple[GpuSubject, ...]:
        gpus = list(COMPOSITE.gpus)
        gpus[place] = replace(gpus[place], **edit)
        return gpu_subjects(gpus)

    verify_subject(intel(), changed(), AT)
    report, other = COMPOSITE.gpus[place].report, COMPOSITE.gpus[1 - place]
    with not_authentic(Reason.GPU_REPORT_SIGNATURE):
        verify_subject(intel(), changed(report=flip(10)(report)), AT)
    with not_authentic(Reason.GPU_REPORT_SIGNATURE):  # N06
        verify_subject(intel(), changed(certificates=STRANGER.certificates), AT)
    with not_authentic(Reason.GPU_DEVICE_KIND):
        verify_subject(intel(), changed(arch="BLACKWELL"), AT)
    with not_authentic(Reason.GPU_DEVICE_KIND):  # N26
        verify_subject(intel(), changed(arch="LS10"), AT)
    with not_authentic(Reason.GPU_DUPLICATE_DEVICE):  # N25
        verify_subject(intel(), changed(report=other.report, certificates=other.certificates), AT)


def test_a_switch_is_no_gpu() -> None:
    """N26: nor is it one under its own name, where nothing but it is there."""
    switch = GpuAttester.of(NvidiaVendor.of("LS10"))
    sent = switch.answer(GPU_NONCE).evidence
    with not_authentic(Reason.GPU_TOPOLOGY_ARCHITECTURE):
        verify_subject(intel(), gpu_subjects([sent], nvgpu.rims_of(switch)), AT)
    with not_authentic(Reason.GPU_TOPOLOGY_ARCHITECTURE):
        verify_subject(intel(), gpu_subjects([replace(sent, arch="HOPPER")], nvgpu.rims_of(switch)), AT)


def test_the_first_fault_of_a_composite() -> None:
    """The CPU, whether the devices go together, each of them, with what takes no RIM first; then the binding."""
    twice = gpu_subjects([COMPOSITE.gpus[0]] * 2, Rims())
    forged = replace(COMPOSITE, cpu=QuoteEvidence(tee="tdx", quote=flip(600)(quote_in(COMPOSITE))))
    with not_authentic(Reason.TDX_QUOTE_SIGNATURE):
        verify_subject(intel(forged), twice, AT)
    with not_authentic(Reason.GPU_DUPLICATE_DEVICE):
        verify_subject(intel(), twice, AT)
    misnamed = replace(COMPOSITE.gpus[0], arch="BLACKWELL", report=flip(10)(COMPOSITE.gpus[0].report))
    with not_authentic(Reason.GPU_DEVICE_KIND):
        verify_subject(intel(), gpu_subjects([misnamed], Rims()), AT)
    with refused(Unavailable, Reason.GPU_RIM_MISSING):
        verify_subject(intel(), gpu_subjects(rims=Rims()), AT)
    with refused(Unavailable, Reason.GPU_RIM_MISSING):
        appraised(replace(COMPOSITE, challenge=bytes(32)), gpus=gpu_subjects(rims=Rims()))
    with not_authentic(Reason.BINDING_REPORT_DATA):
        appraised(replace(COMPOSITE, challenge=bytes(32)), gpus=gpu_subjects())


def test_gpus_are_bound() -> None:
    result = appraised(COMPOSITE, gpus=gpu_subjects())
    assert result.bound is not None
    assert result.bound.grade is BindingGrade.MUTUAL
    assert [gpu.nonce for gpu in result.verified.gpus] == [GPU_NONCE] * 2


def test_a_gpu_that_answers_a_nonce_of_its_own_is_refused() -> None:
    """X01: the quote commits to what the GPU of another host has answered, but to which nonce is for the key to say."""
    said = (SAID[0], STRANGER.answer(b"n" * 32))
    evidence = ATTESTER.evidence(KEY, REGISTRY, [MODEL], gpus=said)
    with not_authentic(Reason.GPU_NONCE):
        appraised(evidence, gpus=gpu_subjects(evidence.gpus))


def test_a_gpu_that_was_swapped_after_the_quote_is_refused() -> None:
    """X02: it has answered the right nonce."""
    swapped = replace(COMPOSITE, gpus=(COMPOSITE.gpus[0], STRANGER.answer(GPU_NONCE).evidence))
    with not_authentic(Reason.BINDING_REPORT_DATA):
        appraised(swapped, gpus=gpu_subjects(swapped.gpus))
    # Beside a quote that commits to it, it would do.
    again = ATTESTER.evidence(KEY, REGISTRY, [MODEL], gpus=(SAID[0], STRANGER.answer(GPU_NONCE)))
    assert appraised(again, gpus=gpu_subjects(again.gpus)).bound is not None


def test_gpus_by_themselves_are_of_no_grade() -> None:
    result = appraised(quote_in(COMPOSITE), gpus=gpu_subjects())
    assert (result.bound, len(result.verified.gpus)) == (None, 2)


def test_gpus_that_were_not_verified_bind_nothing() -> None:
    for gpus in ((), gpu_subjects()[:1]):
        with pytest.raises(ValueError, match="not verified"):
            appraised(COMPOSITE, gpus=gpus)


@pytest.mark.parametrize("gpus", [gpu_subjects(), gpu_subjects()[:1]])
def test_gpus_of_which_the_policy_says_nothing_are_not_acceptable(gpus: tuple[GpuSubject, ...]) -> None:
    """X04."""
    assert failing(appraised(quote_in(COMPOSITE), gpus=gpus)) == [Check.GPU]


@pytest.mark.parametrize("place", [0, 1])
def test_result_ends_with_what_is_said_of_a_gpu(place: int) -> None:
    """OCSP answers are good for a day, less than all else here."""
    policy, gpus = factory.load(), list(gpu_subjects())
    assert appraised(COMPOSITE, policy=policy, gpus=gpus).not_after == VENDOR.next_update
    gpus[place] = replace(gpus[place], revocations=nvgpu.revocations_of(TWO[place]))
    until = verify_subject(intel(), gpus, AT).gpus[place].validity.not_after
    assert AT < until < AT + timedelta(days=1)
    assert appraised(COMPOSITE, policy=policy, gpus=gpus).not_after == until
    # And with the policy where that ends sooner.
    hour = factory.load(edits={"max_age_seconds": "3600"})
    assert appraised(COMPOSITE, policy=hour, gpus=gpus).not_after == AT + timedelta(hours=1)


@pytest.mark.parametrize("place", [0, 1])
def test_simulated_is_what_any_root_is_that_is_not_a_vendors(place: int) -> None:
    names = ("device_identity_ca", "corim_signing_root_ca")
    genuine_device, genuine_rims = (Certificate((ROOT / f"certs/nvidia/{name}.der").read_bytes()) for name in names)
    subjects = []
    for subject in gpu_subjects():
        device = replace(subject.device, chain=(*subject.device.chain[:-1], genuine_device))
        rims = [replace(rim, chain=(*rim.chain[:-1], genuine_rims)) for rim in subject.rims if rim is not None]
        subjects.append(replace(subject, device=device, rims=Rims(*rims)))
    assert appraise_report(amd(), factory.load(factory.SNP), gpus=subjects).simulated is False
    of_test = gpu_subjects()[place]
    for changed in (
        replace(subjects[place], device=of_test.device),
        replace(subjects[place], rims=subjects[place].rims._replace(driver=of_test.rims.driver)),
        replace(subjects[place], rims=subjects[place].rims._replace(vbios=of_test.rims.vbios)),
    ):
        mixed = [*subjects[:place], changed, *subjects[place + 1 :]]
        assert appraise_report(amd(), factory.load(factory.SNP), gpus=mixed).simulated is True


def test_export_of_gpus() -> None:
    result = appraised(COMPOSITE, gpus=gpu_subjects())
    exported = export_result(result)
    assert exported["gpus"] == [export_gpu(gpu) for gpu in result.verified.gpus]
    assert result.verified.topology is not None
    assert exported["topology"] == export_topology(result.verified.topology)
    assert isinstance(exported["key"], dict)
    assert exported["key"]["binding"] == "mutual"
    assert json.loads(json.dumps(exported)) == exported
