"""Bindings: the published vectors, acceptable keys, proofs, Cocoon's certificate, and a refusal for each reason."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256, sha512
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from attestd.binding import transcript
from attestd.binding.keys import SMALL_ORDER_U, SMALL_ORDER_Y, KeyAlgorithm, load_key, verify_possession
from attestd.binding.ra_tls import MAX_QUOTE_EXTENSION_SIZE, QUOTE_OID, USER_CLAIMS_OID, parse_ra_tls
from attestd.binding.verify import PUBLISHED_NONCES, BindingGrade, Bound, quote_of, verify_binding
from attestd.codec import dump_pem, load_base64
from attestd.errors import AttestdError, Malformed, NotAuthentic, Reason
from attestd.evidence import (
    Evidence,
    GpuEvidence,
    HclEvidence,
    KeyEvidence,
    QuoteEvidence,
    RaTlsEvidence,
    Scheme,
    SnpEvidence,
    TpmQuoteEvidence,
)
from tests import binding_vectors
from tests.binding_vectors import keys, lp, seed, sign, spki_of
from tests.evidence import EVIDENCE

AT = datetime(2026, 6, 1, tzinfo=UTC)
VECTORS: list[dict[str, Any]] = json.loads(binding_vectors.PATH.read_text())["vectors"]
TITLES = [f"{vector['binding']} {vector['algorithm']}" for vector in VECTORS]
QUOTE = QuoteEvidence(tee="tdx", quote=b"quote")


def refused(call: Callable[[], object], reason: Reason, kind: type[AttestdError] = NotAuthentic) -> str:
    with pytest.raises(AttestdError) as caught:
        call()
    assert (type(caught.value), caught.value.reason) == (kind, reason)
    return str(caught.value)


# ---------------------------------------------------------------------------------------------------------------------
# The vectors


def test_the_published_vectors_are_those_of_the_second_implementation() -> None:
    assert binding_vectors.PATH.read_text() == binding_vectors.document()


@pytest.mark.parametrize("vector", VECTORS, ids=TITLES)
def test_transcripts_are_as_published(vector: dict[str, Any]) -> None:
    spki, models = bytes.fromhex(vector["key_spki_der"]), [bytes.fromhex(model) for model in vector["models"]]
    challenge = bytes.fromhex(vector["challenge"])
    context = transcript.context(registry_id=vector["registry_id"], challenge=challenge, spki=spki, models=models)
    bundle = transcript.gpu_bundle(
        (bytes.fromhex(gpu["report"]), bytes.fromhex(gpu["certificate_chain"])) for gpu in vector["gpus"]
    )
    assert context.hex() == vector["context"]
    assert transcript.gpu_nonce(context).hex() == vector["gpu_nonce"]
    assert bundle.hex() == vector["gpu_bundle"]
    if vector["binding"] == "attestd/v1":
        assert transcript.report_data(context, bundle).hex() == vector["report_data"]


@pytest.mark.parametrize("vector", VECTORS, ids=TITLES)
def test_proofs_are_as_published(vector: dict[str, Any]) -> None:
    key = load_key(bytes.fromhex(vector["key_spki_der"]))
    assert key.algorithm == vector["algorithm"]
    assert key.can_sign is (vector["algorithm"] != "X25519")
    proof = None if vector["proof"] is None else bytes.fromhex(vector["proof"])
    verify_possession(key, proof, bytes.fromhex(vector["context"]))


# ---------------------------------------------------------------------------------------------------------------------
# Evidence of each scheme


@dataclass
class Case:
    """An attester's answer, complete and right; a test changes one thing of it."""

    evidence: Evidence
    report_data: bytes
    registry_id: str = "attestd.example"
    at: datetime = AT
    gpu_nonces: tuple[bytes, ...] = ()

    def verify(self) -> Bound:
        return verify_binding(
            self.evidence,
            registry_id=self.registry_id,
            report_data=self.report_data,
            gpu_nonces=self.gpu_nonces,
            at=self.at,
        )


MODELS = tuple(sorted((seed("model a"), seed("model b"))))


def make_case(scheme: Scheme, algorithm: str = "Ed25519", *, dated: bool = True, **changes: Any) -> Case:
    private = keys()[algorithm]
    spki, challenge = spki_of(private), seed("challenge")
    models = () if algorithm == "X25519" and scheme is not Scheme.ATTESTD_V1 else MODELS
    context = b"".join(map(lp, (b"attestd/v1", b"attestd.example", challenge, spki, b"".join(models))))
    half = sha256(spki).digest()
    report_data = {
        Scheme.ATTESTD_V1: sha512(lp(b"report-data") + context + lp(sha256(lp(b"gpu-bundle")).digest())).digest(),
        Scheme.COCOON: sha512(spki[-32:]).digest(),
        Scheme.SPKI_SHA256: half + (challenge if dated else bytes(32)),
        Scheme.NONCE_AND_KEY: half + challenge,
    }[scheme]
    cocoon = scheme is Scheme.COCOON
    evidence = Evidence(
        challenge=challenge,
        binding=scheme,
        key=KeyEvidence(spki=spki, proof=sign(private, context), role="worker" if cocoon else None),
        models=models,
        cpu=RaTlsEvidence(certificate=make_certificate(private)) if cocoon else QUOTE,
    )
    return Case(evidence=replace(evidence, **changes), report_data=report_data)


def with_key(case: Case, **changes: Any) -> Case:
    return replace(case, evidence=replace(case.evidence, key=replace(case.evidence.key, **changes)))


def with_evidence(case: Case, **changes: Any) -> Case:
    return replace(case, evidence=replace(case.evidence, **changes))


@pytest.mark.parametrize("algorithm", list(KeyAlgorithm))
@pytest.mark.parametrize("scheme", [Scheme.ATTESTD_V1, Scheme.SPKI_SHA256, Scheme.NONCE_AND_KEY])
def test_right_evidence_is_bound(scheme: Scheme, algorithm: str) -> None:
    case = make_case(scheme, algorithm)
    bound = case.verify()
    assert bound == Bound(
        key_id=sha256(case.evidence.key.spki).digest(),
        spki=case.evidence.key.spki,
        algorithm=KeyAlgorithm(algorithm),
        scheme=scheme,
        grade=BindingGrade.NONE,
        challenge=case.evidence.challenge,
        models=case.evidence.models,
        role=None,
        proof_of_possession=algorithm != "X25519",
        report_is_fresh=True,
        validity=None,
    )


def test_right_cocoon_evidence_is_bound() -> None:
    bound = make_case(Scheme.COCOON).verify()
    assert (bound.scheme, bound.role, bound.proof_of_possession, bound.report_is_fresh) == (
        Scheme.COCOON,
        "worker",
        True,
        False,
    )
    assert bound.validity is not None
    assert bound.validity.not_after == AT + timedelta(hours=12)


def test_report_data_without_the_challenge_is_told_apart() -> None:
    assert make_case(Scheme.SPKI_SHA256, dated=False).verify().report_is_fresh is False


# T17, T18, T19, X12, X15: everything is right but what the report data commits to.
SPKI = spki_of(keys()["Ed25519"])
WRONG_REPORT_DATA = {
    "zeros": bytes(64),
    "right hash in the second half": bytes(32) + sha256(SPKI).digest(),
    "hash of the key alone": sha512(SPKI).digest(),
    "hex of the hash": sha256(SPKI).hexdigest().encode(),
    "truncated hash": sha512(SPKI).digest()[:32] + bytes(32),
    "short": b"",
}


@pytest.mark.parametrize("scheme", list(Scheme))
@pytest.mark.parametrize("wrong", WRONG_REPORT_DATA.values(), ids=WRONG_REPORT_DATA)
def test_wrong_report_data_is_refused(scheme: Scheme, wrong: bytes) -> None:
    refused(replace(make_case(scheme), report_data=wrong).verify, Reason.BINDING_REPORT_DATA)


@pytest.mark.parametrize("scheme", list(Scheme))
def test_every_bit_of_report_data_counts(scheme: Scheme) -> None:
    case = make_case(scheme)
    for bit in range(512):
        flipped = bytearray(case.report_data)
        flipped[bit // 8] ^= 1 << bit % 8
        refused(replace(case, report_data=bytes(flipped)).verify, Reason.BINDING_REPORT_DATA)


@pytest.mark.parametrize(
    "change",
    [{"challenge": bytes(32)}, {"models": ()}, {"models": MODELS[:1]}, {"models": (*MODELS, bytes(32))}],
    ids=["challenge", "no models", "a model less", "a model more"],
)
def test_attestd_v1_commits_to_challenge_and_models(change: dict[str, Any]) -> None:
    refused(with_evidence(make_case(Scheme.ATTESTD_V1), **change).verify, Reason.BINDING_REPORT_DATA)


def test_attestd_v1_commits_to_the_registry() -> None:
    refused(replace(make_case(Scheme.ATTESTD_V1), registry_id="test.example").verify, Reason.BINDING_REPORT_DATA)


@pytest.mark.parametrize("scheme", [Scheme.ATTESTD_V1, Scheme.SPKI_SHA256, Scheme.NONCE_AND_KEY])
def test_a_key_swapped_in_the_envelope_is_refused(scheme: Scheme) -> None:
    other = make_case(scheme, "P-256").evidence.key
    refused(with_evidence(make_case(scheme), key=other).verify, Reason.BINDING_REPORT_DATA)


def test_lengths_keep_the_parts_of_the_context_apart() -> None:
    inputs = {"challenge": b"b", "spki": b"c", "models": (b"d",)}
    moved = {"challenge": b"", "spki": b"bc", "models": (b"d",)}
    assert transcript.context(registry_id="a", **inputs) != transcript.context(registry_id="a", **moved)  # type: ignore[arg-type]


@pytest.mark.parametrize("scheme", [Scheme.COCOON, Scheme.SPKI_SHA256, Scheme.NONCE_AND_KEY])
@pytest.mark.parametrize("change", [{"models": ()}, {"models": MODELS[:1]}], ids=["no models", "a model less"])
def test_what_report_data_leaves_out_the_proof_commits_to(scheme: Scheme, change: dict[str, Any]) -> None:
    refused(with_evidence(make_case(scheme), **change).verify, Reason.BINDING_PROOF)


@pytest.mark.parametrize("dated", [True, False])
def test_a_challenge_that_the_report_data_leaves_out_is_in_the_proof(dated: bool) -> None:
    case = with_evidence(make_case(Scheme.SPKI_SHA256, dated=dated), challenge=b"\1" * 32)
    refused(case.verify, Reason.BINDING_REPORT_DATA if dated else Reason.BINDING_PROOF)
    refused(with_evidence(make_case(Scheme.COCOON), challenge=b"\1" * 32).verify, Reason.BINDING_PROOF)


@pytest.mark.parametrize("scheme", [Scheme.COCOON, Scheme.SPKI_SHA256, Scheme.NONCE_AND_KEY])
def test_the_proof_commits_to_the_registry(scheme: Scheme) -> None:
    refused(replace(make_case(scheme), registry_id="test.example").verify, Reason.BINDING_PROOF)


def test_a_key_that_cannot_sign_must_be_fresh_by_report_data() -> None:
    refused(make_case(Scheme.SPKI_SHA256, "X25519", dated=False).verify, Reason.BINDING_REPORT_DATA)


@pytest.mark.parametrize("scheme", [Scheme.SPKI_SHA256, Scheme.NONCE_AND_KEY])
def test_a_key_that_cannot_sign_claims_no_models_that_report_data_leaves_out(scheme: Scheme) -> None:
    case = make_case(scheme, "X25519")
    case.verify()
    refused(with_evidence(case, models=MODELS).verify, Reason.BINDING_MODELS)


def test_scheme_and_carrier_belong_together() -> None:
    cocoon = make_case(Scheme.COCOON)
    refused(with_evidence(cocoon, cpu=QUOTE).verify, Reason.BINDING_SCHEME)
    quote = make_case(Scheme.ATTESTD_V1)
    refused(with_evidence(quote, cpu=cocoon.evidence.cpu).verify, Reason.BINDING_SCHEME)


# ---------------------------------------------------------------------------------------------------------------------
# SEV-SNP: a report carries report data as a quote does; on Azure the quote of the vTPM carries a digest of them

SNP = SnpEvidence(report=b"report")
AZURE = HclEvidence(hcl_report=b"hcl", tpm_quote=TpmQuoteEvidence(message=b"message", signature=b"signature"))
NOT_COCOON = [Scheme.ATTESTD_V1, Scheme.SPKI_SHA256, Scheme.NONCE_AND_KEY]


def make_azure_case(scheme: Scheme, algorithm: str = "Ed25519", *, dated: bool = True) -> Case:
    case = make_case(scheme, algorithm, dated=dated, cpu=AZURE)
    return replace(case, report_data=sha256(case.report_data).digest())


@pytest.mark.parametrize("algorithm", list(KeyAlgorithm))
@pytest.mark.parametrize("scheme", NOT_COCOON)
def test_evidence_of_amd_is_bound_as_that_of_intel(scheme: Scheme, algorithm: str) -> None:
    bound = make_case(scheme, algorithm).verify()
    assert make_case(scheme, algorithm, cpu=SNP).verify() == bound
    assert make_azure_case(scheme, algorithm).verify() == bound


@pytest.mark.parametrize("scheme", NOT_COCOON)
def test_extra_data_is_the_digest_and_nothing_else(scheme: Scheme) -> None:
    case = make_azure_case(scheme)
    report_data = make_case(scheme).report_data
    digest = sha256(report_data).digest()
    assert case.report_data == digest
    for wrong in (
        report_data,
        report_data[:32],
        report_data[32:],
        digest + bytes(32),
        sha512(report_data).digest(),
        sha256(digest).digest(),
        sha256(bytes(64)).digest(),
        bytes(32),
        bytes(64),
        b"",
    ):
        refused(replace(case, report_data=wrong).verify, Reason.BINDING_REPORT_DATA)


@pytest.mark.parametrize("scheme", NOT_COCOON)
@pytest.mark.parametrize("cpu", [QUOTE, SNP])
def test_a_report_is_not_bound_by_the_digest(scheme: Scheme, cpu: QuoteEvidence | SnpEvidence) -> None:
    digest = make_azure_case(scheme).report_data
    refused(replace(make_case(scheme, cpu=cpu), report_data=digest).verify, Reason.BINDING_REPORT_DATA)
    padded = replace(make_case(scheme, cpu=cpu), report_data=digest + bytes(32))
    refused(padded.verify, Reason.BINDING_REPORT_DATA)


@pytest.mark.parametrize("scheme", NOT_COCOON)
def test_extra_data_commits_to_the_key(scheme: Scheme) -> None:
    other = make_case(scheme, "P-256").evidence.key
    refused(with_evidence(make_azure_case(scheme), key=other).verify, Reason.BINDING_REPORT_DATA)


def test_extra_data_commits_to_what_report_data_would() -> None:
    case = make_azure_case(Scheme.ATTESTD_V1)
    for change in ({"challenge": bytes(32)}, {"models": ()}, {"models": MODELS[:1]}):
        refused(with_evidence(case, **change).verify, Reason.BINDING_REPORT_DATA)
    refused(replace(case, registry_id="test.example").verify, Reason.BINDING_REPORT_DATA)


def test_extra_data_without_the_challenge_is_told_apart() -> None:
    assert make_azure_case(Scheme.SPKI_SHA256).verify().report_is_fresh is True
    assert make_azure_case(Scheme.SPKI_SHA256, dated=False).verify().report_is_fresh is False
    undated = make_azure_case(Scheme.SPKI_SHA256, "X25519", dated=False)
    refused(undated.verify, Reason.BINDING_REPORT_DATA)


def test_the_proof_counts_beside_extra_data() -> None:
    case = make_azure_case(Scheme.SPKI_SHA256, dated=False)
    refused(with_evidence(case, challenge=b"\1" * 32).verify, Reason.BINDING_PROOF)
    refused(with_key(make_azure_case(Scheme.ATTESTD_V1), proof=None).verify, Reason.BINDING_PROOF)


@pytest.mark.parametrize("cpu", [SNP, AZURE])
def test_cocoon_is_not_for_amd(cpu: SnpEvidence | HclEvidence) -> None:
    refused(with_evidence(make_case(Scheme.COCOON), cpu=cpu).verify, Reason.BINDING_SCHEME)


# ---------------------------------------------------------------------------------------------------------------------
# GPUs: grades, and what each of them commits to

# As in the published vectors: a chain is opaque to the binding, a single certificate of any bytes will do.
GPU_PARTS = tuple((seed(f"report {number}") * 3, seed(f"chain {number}") * 5) for number in range(8))


def gpu_evidence(*parts: tuple[bytes, bytes]) -> tuple[GpuEvidence, ...]:
    return tuple(
        GpuEvidence(arch="HOPPER", report=report, certificates=dump_pem(chain[:50], chain[50:]))
        for report, chain in parts
    )


def context_of(case: Case) -> bytes:
    evidence = case.evidence
    parts = (b"attestd/v1", case.registry_id.encode(), evidence.challenge, evidence.key.spki, b"".join(evidence.models))
    return b"".join(map(lp, parts))


def key_nonce(case: Case) -> bytes:
    return sha256(lp(b"gpu-nonce") + context_of(case)).digest()


def committed(case: Case, *parts: tuple[bytes, bytes]) -> bytes:
    bundle = sha256(lp(b"gpu-bundle") + b"".join(lp(report) + lp(chain) for report, chain in parts)).digest()
    return sha512(lp(b"report-data") + context_of(case) + lp(bundle)).digest()


def make_gpu_case(scheme: Scheme, algorithm: str = "Ed25519", *, count: int = 2, dated: bool = True) -> Case:
    """Return an answer in which every GPU was asked with the key's nonce."""
    case = with_evidence(make_case(scheme, algorithm, dated=dated), gpus=gpu_evidence(*GPU_PARTS[:count]))
    if scheme is Scheme.ATTESTD_V1:
        case = replace(case, report_data=committed(case, *GPU_PARTS[:count]))
    return replace(case, gpu_nonces=(key_nonce(case),) * count)


def of_challenge(case: Case) -> Case:
    return replace(case, gpu_nonces=(case.evidence.challenge,) * len(case.gpu_nonces))


@pytest.mark.parametrize("vector", [one for one in VECTORS if one["gpus"]], ids=lambda one: f"{len(one['gpus'])} GPUs")
def test_published_gpus_are_bound(vector: dict[str, Any]) -> None:
    spki, proof, challenge = (
        None if vector[name] is None else bytes.fromhex(vector[name]) for name in ("key_spki_der", "proof", "challenge")
    )
    assert spki is not None
    assert challenge is not None
    gpus = [(bytes.fromhex(gpu["report"]), bytes.fromhex(gpu["certificate_chain"])) for gpu in vector["gpus"]]
    evidence = Evidence(
        challenge=challenge,
        binding=Scheme.ATTESTD_V1,
        key=KeyEvidence(spki=spki, proof=proof),
        models=tuple(sorted(map(bytes.fromhex, vector["models"]))),
        cpu=QUOTE,
        gpus=gpu_evidence(*gpus),
    )
    nonces = (bytes.fromhex(vector["gpu_nonce"]),) * len(gpus)
    case = Case(evidence, bytes.fromhex(vector["report_data"]), vector["registry_id"], gpu_nonces=nonces)
    assert case.verify().grade is BindingGrade.MUTUAL


@pytest.mark.parametrize("algorithm", list(KeyAlgorithm))
@pytest.mark.parametrize("count", [1, 2, 8])
def test_key_nonces_and_a_report_that_commits_to_the_gpus_are_mutual(algorithm: str, count: int) -> None:
    case = make_gpu_case(Scheme.ATTESTD_V1, algorithm, count=count)
    bound = case.verify()
    assert bound.grade is BindingGrade.MUTUAL
    assert replace(bound, grade=BindingGrade.NONE) == make_case(Scheme.ATTESTD_V1, algorithm).verify()


@pytest.mark.parametrize("cpu", [SNP, AZURE])
def test_amd_commits_to_gpus_as_intel_does(cpu: SnpEvidence | HclEvidence) -> None:
    case = with_evidence(make_gpu_case(Scheme.ATTESTD_V1), cpu=cpu)
    if cpu is AZURE:
        case = replace(case, report_data=sha256(case.report_data).digest())
    assert case.verify().grade is BindingGrade.MUTUAL
    refused(with_evidence(case, gpus=case.evidence.gpus[::-1]).verify, Reason.BINDING_REPORT_DATA)


@pytest.mark.parametrize("scheme", [Scheme.COCOON, Scheme.SPKI_SHA256, Scheme.NONCE_AND_KEY])
def test_key_nonces_alone_are_key_bound(scheme: Scheme) -> None:
    assert make_gpu_case(scheme).verify().grade is BindingGrade.KEY_BOUND


@pytest.mark.parametrize("algorithm", ["Ed25519", "X25519"])
@pytest.mark.parametrize("scheme", [Scheme.SPKI_SHA256, Scheme.NONCE_AND_KEY])
def test_gpus_that_answer_the_challenge_beside_a_report_that_does(scheme: Scheme, algorithm: str) -> None:
    assert of_challenge(make_gpu_case(scheme, algorithm)).verify().grade is BindingGrade.SAME_CHALLENGE


@pytest.mark.parametrize("scheme", [Scheme.COCOON, Scheme.SPKI_SHA256])
def test_gpus_that_answer_the_challenge_beside_a_report_that_does_not(scheme: Scheme) -> None:
    """The report may be old, and of another machine."""
    bound = of_challenge(make_gpu_case(scheme, dated=False)).verify()
    assert (bound.grade, bound.report_is_fresh) == (BindingGrade.NONE, False)


def test_the_challenge_itself_is_not_enough_beside_a_report_that_commits() -> None:
    refused(of_challenge(make_gpu_case(Scheme.ATTESTD_V1)).verify, Reason.GPU_NONCE)


@pytest.mark.parametrize("scheme", list(Scheme))
def test_gpus_that_answer_something_else_are_refused(scheme: Scheme) -> None:
    """X01: a genuine GPU of another host has answered a nonce of its own."""
    case = make_gpu_case(scheme)
    (right, _), other = case.gpu_nonces, replace(case, registry_id="test.example")
    for wrong in (
        key_nonce(other),
        key_nonce(with_evidence(case, challenge=bytes(32))),
        key_nonce(with_evidence(case, models=())),
        key_nonce(with_evidence(case, key=make_case(scheme, "P-256").evidence.key))
        if scheme is not Scheme.COCOON
        else b"",
        sha256(context_of(case)).digest(),
        case.report_data[:32],
        bytes([right[0] ^ 1]) + right[1:],
        bytes(32),
        b"",
    ):
        for nonces in ((wrong, wrong), (right, wrong), (wrong, right)):
            message = refused(replace(case, gpu_nonces=nonces).verify, Reason.GPU_NONCE)
            assert (wrong.hex() in message, right.hex() in message) == (True, True)


@pytest.mark.parametrize("scheme", [Scheme.SPKI_SHA256, Scheme.NONCE_AND_KEY])
def test_all_gpus_answer_the_same(scheme: Scheme) -> None:
    """Each nonce would do, but together they are of no grade."""
    case = make_gpu_case(scheme)
    mixed = (key_nonce(case), case.evidence.challenge)
    for nonces in (mixed, mixed[::-1]):
        refused(replace(case, gpu_nonces=nonces).verify, Reason.GPU_NONCE)


def test_a_nonce_that_reports_to_be_had_answer_is_never_good() -> None:
    case = make_gpu_case(Scheme.NONCE_AND_KEY)
    for nonce in PUBLISHED_NONCES:
        spki = case.evidence.key.spki
        asked = with_evidence(case, challenge=nonce)
        asked = replace(asked, report_data=sha256(spki).digest() + nonce, gpu_nonces=(nonce, nonce))
        asked = with_key(asked, proof=sign(keys()["Ed25519"], context_of(asked)))
        refused(asked.verify, Reason.GPU_NONCE)
        # All else was right.
        assert replace(asked, gpu_nonces=(key_nonce(asked),) * 2).verify().grade is BindingGrade.KEY_BOUND


def test_the_nonces_of_published_reports_are_known() -> None:
    folder = EVIDENCE / "nvidia"
    if not folder.is_dir():
        pytest.skip(f"no evidence at {EVIDENCE}: nonces of NVIDIA's reports not seen")
    reports = [path.read_bytes() for path in folder.glob("*/report.bin")]
    for bundle in folder.glob("*/evidence.json"):
        reports += [load_base64(one["evidence"]) for one in json.loads(bundle.read_bytes())]
    assert len(reports) > 50
    assert {report[4:36] for report in reports} <= PUBLISHED_NONCES


# X02 and the swap after the quote: every GPU is right by itself, but not what the report data commits to.
ONE, TWO, THREE = GPU_PARTS[:3]
SWAPPED: dict[str, tuple[tuple[bytes, bytes], ...]] = {
    "none": (),
    "one less": (ONE,),
    "the other one": (TWO,),
    "one more": (ONE, TWO, THREE),
    "one twice": (ONE, ONE),
    "another": (ONE, THREE),
    "another order": (TWO, ONE),
    "chains of each other": ((ONE[0], TWO[1]), (TWO[0], ONE[1])),
    "another report": ((ONE[0], ONE[1]), (THREE[0], TWO[1])),
    "a byte from the report to the chain": ((ONE[0][:-1], ONE[0][-1:] + ONE[1]), TWO),
    "reports with the chains": ((ONE[0] + ONE[1] + TWO[0], TWO[1]),),
}


@pytest.mark.parametrize("parts", SWAPPED.values(), ids=SWAPPED)
def test_report_data_commits_to_the_gpus(parts: tuple[tuple[bytes, bytes], ...]) -> None:
    case = make_gpu_case(Scheme.ATTESTD_V1)
    assert case.verify().grade is BindingGrade.MUTUAL
    others = with_evidence(case, gpus=gpu_evidence(*parts))
    others = replace(others, gpu_nonces=(key_nonce(case),) * len(parts))
    refused(others.verify, Reason.BINDING_REPORT_DATA)
    assert replace(others, report_data=committed(case, *parts)).verify().grade is (
        BindingGrade.MUTUAL if parts else BindingGrade.NONE
    )


def test_other_schemes_do_not_commit_to_the_gpus() -> None:
    case = make_gpu_case(Scheme.NONCE_AND_KEY)
    assert with_evidence(case, gpus=gpu_evidence(THREE, ONE)).verify().grade is BindingGrade.KEY_BOUND


def test_text_around_certificates_is_not_committed_to() -> None:
    """X06: the same certificates in other PEM are the same evidence; other certificates are not."""
    case = make_gpu_case(Scheme.ATTESTD_V1)
    first, second = case.evidence.gpus
    padded = replace(first, certificates=first.certificates + b"\n\0")
    assert with_evidence(case, gpus=(padded, second)).verify() == case.verify()
    resigned = replace(first, report=first.report[:-1] + bytes([first.report[-1] ^ 1]))
    refused(with_evidence(case, gpus=(resigned, second)).verify, Reason.BINDING_REPORT_DATA)
    message = refused(
        with_evidence(case, gpus=(replace(first, certificates=b"no PEM"), second)).verify,
        Reason.PEM_MALFORMED,
        Malformed,
    )
    assert "PEM" in message


@pytest.mark.parametrize("scheme", list(Scheme))
def test_reports_that_were_not_verified_bind_nothing(scheme: Scheme) -> None:
    """A nonce for each GPU; anything else is a mistake of the caller's, not of the attester's."""
    case = make_gpu_case(scheme)
    (nonce, _) = case.gpu_nonces
    for nonces in ((), (nonce,), (nonce,) * 3):
        with pytest.raises(ValueError, match="not verified"):
            replace(case, gpu_nonces=nonces).verify()
    with pytest.raises(ValueError, match="not verified"):
        replace(make_case(scheme), gpu_nonces=(nonce,)).verify()


# ---------------------------------------------------------------------------------------------------------------------
# Proof of possession (X14)


@pytest.mark.parametrize("algorithm", ["Ed25519", "P-256", "P-384", "RSA"])
@pytest.mark.parametrize("scheme", [Scheme.ATTESTD_V1, Scheme.SPKI_SHA256, Scheme.NONCE_AND_KEY])
def test_a_signing_key_must_prove_itself(scheme: Scheme, algorithm: str) -> None:
    case = make_case(scheme, algorithm)
    assert case.evidence.key.proof is not None
    refused(with_key(case, proof=None).verify, Reason.BINDING_PROOF)
    for wrong in (b"", b"\0" * 64, case.evidence.key.proof[:-1], case.evidence.key.proof + b"\0"):
        refused(with_key(case, proof=wrong).verify, Reason.BINDING_PROOF)


def test_the_proof_of_another_key_is_refused() -> None:
    case = make_case(Scheme.ATTESTD_V1)
    other = ed25519.Ed25519PrivateKey.from_private_bytes(seed("other"))
    context = transcript.context(
        registry_id=case.registry_id, challenge=case.evidence.challenge, spki=case.evidence.key.spki, models=MODELS
    )
    with_key(case, proof=sign(keys()["Ed25519"], context)).verify()
    refused(with_key(case, proof=sign(other, context)).verify, Reason.BINDING_PROOF)


def test_ecdsa_proofs_of_the_wrong_hash_or_encoding_are_refused() -> None:
    case = make_case(Scheme.ATTESTD_V1, "P-384")
    context = transcript.context(
        registry_id=case.registry_id, challenge=case.evidence.challenge, spki=case.evidence.key.spki, models=MODELS
    )
    refused(with_key(case, proof=keys()["P-384"].sign(context, ec.ECDSA(SHA256()))).verify, Reason.BINDING_PROOF)
    assert case.evidence.key.proof is not None
    r, s = decode_dss_signature(case.evidence.key.proof)
    raw = r.to_bytes(48, "big") + s.to_bytes(48, "big")
    refused(with_key(case, proof=raw).verify, Reason.BINDING_PROOF)


def test_a_key_that_cannot_sign_must_come_without_proof() -> None:
    refused(with_key(make_case(Scheme.ATTESTD_V1, "X25519"), proof=bytes(64)).verify, Reason.BINDING_PROOF)


# ---------------------------------------------------------------------------------------------------------------------
# Which keys are acceptable, X13

PRIME = 2**255 - 19
ED25519_PREFIX = bytes.fromhex("302a300506032b6570032100")
X25519_PREFIX = bytes.fromhex("302a300506032b656e032100")
P256_PREFIX = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
P384_PREFIX = bytes.fromhex("3076301006072a8648ce3d020106052b81040022036200")


def edwards_add(p: tuple[int, int], q: tuple[int, int]) -> tuple[int, int]:
    """Add two points of edwards25519 by the textbook formula (RFC 8032, 5.1.4, affine)."""
    d = -121665 * pow(121666, -1, PRIME)
    (x1, y1), (x2, y2) = p, q
    product = d * x1 * x2 * y1 * y2
    x3 = (x1 * y2 + x2 * y1) * pow(1 + product, -1, PRIME)
    return x3 % PRIME, (y1 * y2 + x1 * x2) * pow(1 - product, -1, PRIME) % PRIME


def small_order_points() -> set[tuple[int, int]]:
    """Multiply any point by the order of the big subgroup: what is left generates a part of the small one."""
    order = 2**252 + 27742317777372353535851937790883648493
    points: set[tuple[int, int]] = set()
    for y in range(2, 12):
        square = (y * y - 1) * pow(-121665 * pow(121666, -1, PRIME) * y * y + 1, -1, PRIME) % PRIME
        x = pow(square, (PRIME + 3) // 8, PRIME)
        if x * x % PRIME != square:
            x = x * pow(2, (PRIME - 1) // 4, PRIME) % PRIME
        if x * x % PRIME == square:
            result, addend, n = (0, 1), (x, y), order
            while n:
                result = edwards_add(result, addend) if n & 1 else result
                addend, n = edwards_add(addend, addend), n >> 1
            multiple = result
            for _ in range(8):
                points.add(multiple)
                multiple = edwards_add(multiple, result)
    return points


def test_the_small_order_lists_are_complete() -> None:
    points = small_order_points()
    assert len(points) == 8
    assert {y for _, y in points} == SMALL_ORDER_Y
    # The map of RFC 7748, 4.1: u = (1 + y) / (1 - y); the identity goes to infinity. u = -1 lies on the twist.
    mapped = {(1 + y) * pow(1 - y, -1, PRIME) % PRIME for _, y in points if y != 1}
    assert mapped | {PRIME - 1} == SMALL_ORDER_U


@pytest.mark.parametrize("y", sorted(SMALL_ORDER_Y))
@pytest.mark.parametrize("sign_bit", [0, 1])
def test_ed25519_points_of_small_order_are_refused(y: int, sign_bit: int) -> None:
    spki = ED25519_PREFIX + (y | sign_bit << 255).to_bytes(32, "little")
    refused(lambda: load_key(spki), Reason.BINDING_KEY)


@pytest.mark.parametrize("u", sorted(SMALL_ORDER_U))
def test_x25519_points_of_small_order_are_refused(u: int) -> None:
    refused(lambda: load_key(X25519_PREFIX + u.to_bytes(32, "little")), Reason.BINDING_KEY)


def test_a_coordinate_that_is_not_reduced_is_refused() -> None:
    for above in range(19):
        for sign_bit in (0, 1):
            encoded = (PRIME + above | sign_bit << 255).to_bytes(32, "little")
            refused(lambda e=encoded: load_key(ED25519_PREFIX + e), Reason.BINDING_KEY)  # type: ignore[misc]
        encoded = (PRIME + above).to_bytes(32, "little")
        refused(lambda e=encoded: load_key(X25519_PREFIX + e), Reason.BINDING_KEY)  # type: ignore[misc]
    # X25519 ignores the topmost bit, so that a key with it is a second encoding.
    refused(lambda: load_key(X25519_PREFIX + (9 | 1 << 255).to_bytes(32, "little")), Reason.BINDING_KEY)


@pytest.mark.parametrize(("prefix", "size"), [(P256_PREFIX, 32), (P384_PREFIX, 48)])
def test_points_off_the_curve_are_refused(prefix: bytes, size: int) -> None:
    for x, y in ((0, 0), (1, 1), (2 ** (8 * size) - 1, 1)):
        spki = prefix + b"\4" + x.to_bytes(size, "big") + y.to_bytes(size, "big")
        refused(lambda s=spki: load_key(s), Reason.BINDING_KEY, Malformed)  # type: ignore[misc]


def test_a_compressed_point_is_a_second_encoding() -> None:
    raw = spki_of(keys()["P-256"])[-64:]
    compressed = bytes([2 + raw[-1] % 2]) + raw[:32]
    spki = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + compressed
    refused(lambda: load_key(spki), Reason.BINDING_KEY, Malformed)


def rsa_spki(n: int, e: int) -> bytes:
    def tlv(tag: int, content: bytes) -> bytes:
        size = len(content)
        length = bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2, "big")
        return bytes([tag]) + length + content

    def integer(value: int) -> bytes:
        return tlv(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))

    algorithm = bytes.fromhex("300d06092a864886f70d0101010500")
    return tlv(0x30, algorithm + tlv(3, b"\0" + tlv(0x30, integer(n) + integer(e))))


MODULUS = binding_vectors.RSA_P * binding_vectors.RSA_Q


def test_the_rsa_encoder_of_these_tests_is_right() -> None:
    assert rsa_spki(MODULUS, 65537) == spki_of(keys()["RSA"])


@pytest.mark.parametrize(
    ("n", "e"),
    [
        (MODULUS, 3),
        (MODULUS, 65539),
        (MODULUS, 2**255 + 1),
        (MODULUS - 1, 65537),
        (2**3070 + 1, 65537),
        (2**511 + 1, 65537),
        (2**8192 + 1, 65537),
    ],
    ids=["3", "65539", "huge exponent", "even modulus", "3071 bits", "512 bits", "8193 bits"],
)
def test_weak_rsa_keys_are_refused(n: int, e: int) -> None:
    refused(lambda: load_key(rsa_spki(n, e)), Reason.BINDING_KEY)


@pytest.mark.parametrize(
    "spki",
    [
        b"",
        bytes(44),
        SPKI[:-1],
        SPKI + b"\0",
        SPKI.replace(b"\x30\x2a", b"\x30\x81\x2a", 1),
        bytes.fromhex("302c300706032b65700500032100") + SPKI[-32:],
        rsa_spki(MODULUS, 1),
        rsa_spki(MODULUS, 65536),
        b"-----BEGIN PUBLIC KEY-----\n",
        SPKI[-32:],
        spki_of(ed448.Ed448PrivateKey.generate()),
        spki_of(ec.generate_private_key(ec.SECP521R1())),
        spki_of(ec.generate_private_key(ec.SECP256K1())),
        spki_of(dsa.generate_private_key(2048)),
        spki_of(rsa.generate_private_key(65537, 3072)).replace(
            bytes.fromhex("300d06092a864886f70d0101010500"), bytes.fromhex("300d06092a864886f70d01010a0500")
        ),
        # Diffie-Hellman (RFC 3279, 2.3.3) with p = 23, g = 5, y = 8; a kind that the library warns of.
        bytes.fromhex("301c301506092a864886f70d010301300806022017020105000303000201 08".replace(" ", "")),
    ],
    ids=[
        "empty",
        "zeros",
        "short",
        "trailing byte",
        "long length",
        "NULL parameters",
        "exponent 1",
        "even exponent",
        "PEM",
        "raw",
        "Ed448",
        "P-521",
        "secp256k1",
        "DSA",
        "RSA-PSS",
        "DH",
    ],
)
def test_other_keys_and_other_encodings_are_malformed(spki: bytes) -> None:
    refused(lambda: load_key(spki), Reason.BINDING_KEY, Malformed)


@given(st.integers(0, 7), st.data())
def test_no_changed_key_leaks_another_error(which: int, data: st.DataObject) -> None:
    spki = bytearray(spki_of(list(keys().values())[which % 5]))
    for _ in range(data.draw(st.integers(1, 3))):
        spki[data.draw(st.integers(0, len(spki) - 1))] = data.draw(st.integers(0, 255))
    with suppress(AttestdError):
        assert load_key(bytes(spki)).spki == spki


def test_a_weak_key_is_refused_although_all_else_is_right() -> None:
    case = make_case(Scheme.NONCE_AND_KEY, "X25519")
    weak = X25519_PREFIX + bytes(32)
    report_data = sha256(weak).digest() + case.evidence.challenge
    refused(replace(with_key(case, spki=weak), report_data=report_data).verify, Reason.BINDING_KEY)


# ---------------------------------------------------------------------------------------------------------------------
# Cocoon's RA-TLS certificate

NAME = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "TDLib Development")])
USAGE = {
    "digital_signature": True,
    "content_commitment": False,
    "key_encipherment": False,
    "data_encipherment": False,
    "key_agreement": False,
    "key_cert_sign": False,
    "crl_sign": False,
    "encipher_only": False,
    "decipher_only": False,
}


def make_certificate(
    private: Any = None,
    *,
    signer: Any = None,
    issuer: x509.Name = NAME,
    quote: bytes | None = b"quote",
    claims: bytes | None = b"own",
    ca: bool = False,
    usage: dict[str, bool] = USAGE,
    further: tuple[tuple[x509.ExtensionType, bool], ...] = (),
) -> bytes:
    private = private or keys()["Ed25519"]
    raw = private.public_key().public_bytes_raw() if claims == b"own" else claims
    builder = (
        x509.CertificateBuilder()
        .subject_name(NAME)
        .issuer_name(issuer)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(AT - timedelta(hours=12))
        .not_valid_after(AT + timedelta(hours=12))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
    )
    if quote is not None:
        builder = builder.add_extension(x509.UnrecognizedExtension(QUOTE_OID, quote), critical=True)
    if raw is not None:
        builder = builder.add_extension(x509.UnrecognizedExtension(USER_CLAIMS_OID, raw), critical=True)
    for extension, critical in further:
        builder = builder.add_extension(extension, critical=critical)
    signer = signer or private
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else SHA256()
    return builder.sign(signer, algorithm).public_bytes(Encoding.DER)


def cocoon_with(certificate: bytes) -> Case:
    return with_evidence(make_case(Scheme.COCOON), cpu=RaTlsEvidence(certificate=certificate))


def test_the_quote_is_taken_from_its_carrier() -> None:
    assert quote_of(QUOTE) == b"quote"
    assert quote_of(RaTlsEvidence(certificate=make_certificate(quote=b"other quote"))) == b"other quote"


@pytest.mark.parametrize("size", [1, MAX_QUOTE_EXTENSION_SIZE])
def test_quotes_up_to_the_limit_are_taken(size: int) -> None:
    assert len(quote_of(RaTlsEvidence(certificate=make_certificate(quote=bytes(size))))) == size


def test_user_claims_may_be_absent() -> None:
    cocoon_with(make_certificate(claims=None)).verify()


def test_an_unknown_extension_that_is_not_critical_is_passed_over() -> None:
    other = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.12345.3"), b"?")
    cocoon_with(make_certificate(further=((other, False),))).verify()


FOREIGN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.12345.3"), b"?")
CONSTRAINTS = x509.NameConstraints([x509.DNSName("a")], None)
MALFORMED_CERTIFICATES = {
    "empty": b"",
    "no DER": b"certificate",
    "trailing byte": make_certificate() + b"\0",
    "two certificates": make_certificate() * 2,
    "truncated": make_certificate()[:-1],
    "no quote": make_certificate(quote=None),
    "empty quote": make_certificate(quote=b""),
    "quote too large": make_certificate(quote=bytes(MAX_QUOTE_EXTENSION_SIZE + 1)),
    "a CA": make_certificate(ca=True),
    "may not sign": make_certificate(usage=USAGE | {"digital_signature": False, "key_encipherment": True}),
    "another critical extension": make_certificate(further=((FOREIGN, True),)),
    "another critical extension that the library knows": make_certificate(further=((CONSTRAINTS, True),)),
    "another issuer": make_certificate(issuer=x509.Name([])),
    "P-256 key": make_certificate(keys()["P-256"], claims=None),
    "P-256 signer": make_certificate(signer=keys()["P-256"]),
    # 02 01 01 is the serial number 1, 02 01 02 the version 3.
    "serial number 0": make_certificate().replace(bytes.fromhex("a003020102020101"), bytes.fromhex("a003020102020100")),
    "version 2": make_certificate().replace(bytes.fromhex("a003020102020101"), bytes.fromhex("a003020101020101")),
    "version 4": make_certificate().replace(bytes.fromhex("a003020102020101"), bytes.fromhex("a003020103020101")),
    # The OID of the user claims turned into that of the quote.
    "a quote twice": make_certificate().replace(bytes.fromhex("2b06010401e03902"), bytes.fromhex("2b06010401e03901")),
}


@pytest.mark.parametrize("certificate", MALFORMED_CERTIFICATES.values(), ids=MALFORMED_CERTIFICATES)
def test_malformed_certificates_are_refused(certificate: bytes) -> None:
    assert certificate != make_certificate()
    refused(lambda: parse_ra_tls(certificate), Reason.BINDING_CERTIFICATE, Malformed)
    refused(cocoon_with(certificate).verify, Reason.BINDING_CERTIFICATE, Malformed)


def test_a_certificate_that_another_key_signed_is_refused() -> None:
    other = ed25519.Ed25519PrivateKey.from_private_bytes(seed("other"))
    message = refused(cocoon_with(make_certificate(signer=other)).verify, Reason.BINDING_CERTIFICATE)
    assert "does not verify" in message


def test_user_claims_of_another_key_are_refused() -> None:
    for claims in (bytes(32), b"", keys()["Ed25519"].public_key().public_bytes_raw() + b"\0"):
        message = refused(cocoon_with(make_certificate(claims=claims)).verify, Reason.BINDING_CERTIFICATE)
        assert "user claims" in message


def test_a_certificate_of_another_key_than_the_named_one_is_refused() -> None:
    other = ed25519.Ed25519PrivateKey.from_private_bytes(seed("other"))
    message = refused(cocoon_with(make_certificate(other)).verify, Reason.BINDING_CERTIFICATE)
    assert "another key" in message


@pytest.mark.parametrize("hours", [-12, 12])
def test_both_ends_of_the_window_are_in_it(hours: int) -> None:
    replace(make_case(Scheme.COCOON), at=AT + timedelta(hours=hours)).verify()


@pytest.mark.parametrize("seconds", [-12 * 3600 - 1, 12 * 3600 + 1])
def test_a_certificate_outside_of_its_window_is_refused(seconds: int) -> None:
    message = refused(
        replace(make_case(Scheme.COCOON), at=AT + timedelta(seconds=seconds)).verify, Reason.BINDING_CERTIFICATE
    )
    assert "one that holds at" in message


def test_every_bit_of_the_certificate_counts() -> None:
    certificate = make_certificate()
    outcomes: dict[str, int] = {}
    for bit in range(8 * len(certificate)):
        flipped = bytearray(certificate)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(AttestdError) as caught:
            cocoon_with(bytes(flipped)).verify()
        outcomes[caught.value.reason] = outcomes.get(caught.value.reason, 0) + 1
    assert outcomes == {Reason.BINDING_CERTIFICATE: 8 * len(certificate)}
