"""Verification of the binding: that this report was made for this key, this challenge and these models.

    (1) The key is acceptable                                            keys.load_key
    (2) With cocoon, the certificate holds and is of this key            ra_tls
    (3) The report data commits to the key, as the scheme has it         transcript
    (4) Challenge and models are committed to: by the report data, or by the proof
    (5) The holder of the key signed the context                         keys.verify_possession
    (6) Every GPU was asked with the key's nonce, or at least with the challenge

Limit: where GPUs take part, their binding shows that CPU and GPU answered for the same key and challenge. It does not
show that they share a machine; relay to a genuine remote GPU cannot be excluded on Hopper or Blackwell.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Final, assert_never

from attestd.binding import transcript
from attestd.binding.keys import EnclaveKey, KeyAlgorithm, load_key, verify_possession
from attestd.binding.ra_tls import parse_ra_tls
from attestd.codec import load_pem
from attestd.errors import NotAuthentic, Reason
from attestd.evidence import (
    Evidence,
    HclEvidence,
    IntelEvidence,
    QuoteEvidence,
    RaTlsEvidence,
    Role,
    Scheme,
    SnpEvidence,
)
from attestd.validity import Validity

# Genuine reports that answer these can be had by anybody: they are defaults of NVIDIA's tools, and test data of theirs
# and of others. They say nothing of when, or for whom.
PUBLISHED_NONCES: Final = frozenset(
    map(
        bytes.fromhex,
        (
            "931d8dd0add203ac3d8b4fbde75e115278eefcdceac5b87671a748f32364dfcb",  # NVIDIA/nvtrust, also the next
            "4760e30534a0621357d458b1a7936551b5dc4cd1e69718adf7ed9fb0252a537e",
            "ea038ed507a451e005bae91186bc9403150a3cb8971fdebd05ffed65eeb6a997",  # NVIDIA/attestation-sdk, also the next
            "e97b23a1718095a0e9e35edca810768c70a6a5a389b705e753b197912bc11576",
            "5bb22e377702d4e1e8215a903ba094826b9ac7f731dee1fe8102958bf2840aca",
            "27a328247bf7935c993341cf587be6f05986ccce4fe7ba2c54100bd616a58f66",
            "87d8e24ab336adafe228d49e83d745f6dba4ae505372b6a5704820856b343fec",  # confidential-containers/trustee
            "4cff7f5380ead8fad8ec2c531c110aca4302a88f603792801a8ca29ee151af2e",  # confidentsecurity/go-nvtrust
            "00" * 32,
        ),
    )
)


class BindingGrade(StrEnum):
    """How strongly GPU evidence was verified to belong to the CPU's and to the key (binding.md, Grades); best last."""

    NONE = "none"  # no GPU, or nothing ties the GPU evidence to the CPU
    BOOT_GATE = "boot-gate"  # a policy says that the measured image refuses to start without a good GPU
    SAME_CHALLENGE = "same-challenge"
    KEY_BOUND = "key-bound"  # the GPU nonce commits to the key
    MUTUAL = "mutual"  # and the CPU's report data commits to the GPU evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What has been verified to belong together. Only `verify_binding` makes it."""

    key_id: bytes  # SHA-256 of the SPKI
    spki: bytes  # DER
    algorithm: KeyAlgorithm
    scheme: Scheme
    grade: BindingGrade
    challenge: bytes
    models: tuple[bytes, ...]  # SHA-256 digests, sorted
    role: Role | None
    # Whether the key signed the context. Where not, it is a key-agreement key that the report data alone binds.
    proof_of_possession: bool
    # Whether the report itself answers the challenge. Where not, the report may be old, and only the proof is fresh.
    report_is_fresh: bool
    # Of the RA-TLS certificate, where there is one.
    validity: Validity | None


def quote_of(cpu: IntelEvidence) -> bytes:
    """Return the quote to be parsed and verified.

    Raises `Malformed` (`binding.certificate`) where it should be in an RA-TLS certificate and is not.
    """
    match cpu:
        case QuoteEvidence():
            return cpu.quote
        case RaTlsEvidence():
            return parse_ra_tls(cpu.certificate).quote
        case _:
            assert_never(cpu)


def verify_binding(
    evidence: Evidence, *, registry_id: str, report_data: bytes, gpu_nonces: Sequence[bytes], at: datetime
) -> Bound:
    """Verify that the report data of an authenticated report belongs to the key of `evidence`.

    It has 64 bytes, or is the extraData of Azure's vTPM quote. `gpu_nonces` are what the authenticated reports of the
    GPUs of `evidence` were asked with, one for each. `at` is aware.

    Raises `NotAuthentic` with `binding.key`, `binding.scheme`, `binding.certificate`, `binding.report_data`,
    `binding.models`, `binding.proof` or `gpu.nonce`, and `Malformed` with `binding.key`, `binding.certificate` or
    `pem.malformed`.
    """
    if len(gpu_nonces) != len(evidence.gpus):
        raise ValueError("GPUs that were not verified, or others")
    key = load_key(evidence.key.spki)  # (1)
    validity = _verify_certificate(evidence, at)  # (2)
    context = transcript.context(
        registry_id=registry_id, challenge=evidence.challenge, spki=key.spki, models=evidence.models
    )
    report_is_fresh = _verify_report_data(evidence, key, context, report_data)  # (3)
    _require_commitment(evidence, key, report_is_fresh=report_is_fresh)  # (4)
    verify_possession(key, evidence.key.proof, context)  # (5)
    grade = _grade(evidence, context, gpu_nonces, report_is_fresh=report_is_fresh)  # (6)
    return Bound(
        key_id=sha256(key.spki).digest(),
        spki=key.spki,
        algorithm=key.algorithm,
        scheme=evidence.binding,
        grade=grade,
        challenge=evidence.challenge,
        models=evidence.models,
        role=evidence.key.role,
        proof_of_possession=key.can_sign,
        report_is_fresh=report_is_fresh,
        validity=validity,
    )


def _verify_certificate(evidence: Evidence, at: datetime) -> Validity | None:
    cpu = evidence.cpu
    if (evidence.binding is Scheme.COCOON) != isinstance(cpu, RaTlsEvidence):
        raise NotAuthentic(
            Reason.BINDING_SCHEME, found=f"{evidence.binding} with other evidence", wanted="cocoon with RA-TLS alone"
        )
    match cpu:
        case QuoteEvidence() | SnpEvidence() | HclEvidence():
            return None
        case RaTlsEvidence():
            certificate = parse_ra_tls(cpu.certificate)
        case _:
            assert_never(cpu)
    certificate.authenticate(at)
    if certificate.spki != evidence.key.spki:
        raise NotAuthentic(Reason.BINDING_CERTIFICATE, found="a certificate of another key", wanted="one of key.spki")
    return certificate.validity


def _verify_report_data(evidence: Evidence, key: EnclaveKey, context: bytes, report_data: bytes) -> bool:
    """Return whether the report data answers the challenge; some schemes let it commit to the key alone."""
    expected = _expected_report_data(evidence, key, context)
    if isinstance(evidence.cpu, HclEvidence):
        expected = {transcript.vtpm_extra_data(data): is_fresh for data, is_fresh in expected.items()}
    if report_data not in expected:
        wanted = " or ".join(accepted.hex() for accepted in expected)
        raise NotAuthentic(Reason.BINDING_REPORT_DATA, found=report_data.hex(), wanted=wanted)
    return expected[report_data]


def _expected_report_data(evidence: Evidence, key: EnclaveKey, context: bytes) -> dict[bytes, bool]:
    match evidence.binding:
        case Scheme.ATTESTD_V1:
            return {transcript.report_data(context, transcript.gpu_bundle(_bundled(evidence))): True}
        case Scheme.COCOON:  # (2) has seen that it is an Ed25519 key
            return {transcript.cocoon_report_data(key.spki[-32:]): False}
        case Scheme.SPKI_SHA256:
            undated, dated = (transcript.spki_report_data(key.spki, half) for half in (bytes(32), evidence.challenge))
            return {undated: False, dated: True}
        case Scheme.NONCE_AND_KEY:
            return {transcript.spki_report_data(key.spki, evidence.challenge): True}
        case _:
            assert_never(evidence.binding)


def _require_commitment(evidence: Evidence, key: EnclaveKey, *, report_is_fresh: bool) -> None:
    """Without a proof, what the report data leaves out is committed to by nothing."""
    if key.can_sign or evidence.binding is Scheme.ATTESTD_V1:
        return
    if not report_is_fresh:
        raise NotAuthentic(
            Reason.BINDING_REPORT_DATA, found="no challenge", wanted="the challenge, as this key cannot sign it"
        )
    if evidence.models:
        raise NotAuthentic(
            Reason.BINDING_MODELS,
            found=f"models that neither the report data of {evidence.binding} nor a signature commits to",
            wanted=f"{Scheme.ATTESTD_V1}, or no models",
        )


def _bundled(evidence: Evidence) -> Iterator[tuple[bytes, bytes]]:
    """Return what the report data commits to of each GPU: its report, and its certificates in DER."""
    return ((gpu.report, b"".join(load_pem(gpu.certificates))) for gpu in evidence.gpus)


def _grade(evidence: Evidence, context: bytes, nonces: Sequence[bytes], *, report_is_fresh: bool) -> BindingGrade:
    """Return how the GPUs belong to the key; a GPU that answers something else is refused, whatever it says.

    With `attestd/v1` the report data commits to the GPU evidence, (3) has seen that. With other schemes a GPU may have
    answered the challenge itself, which ties it to the CPU only where the CPU's report answers it, too.
    """
    if not nonces:
        return BindingGrade.NONE
    wanted, found = transcript.gpu_nonce(context), set(nonces)
    if evidence.binding is Scheme.ATTESTD_V1:
        grades = {wanted: BindingGrade.MUTUAL}
    else:
        of_challenge = BindingGrade.SAME_CHALLENGE if report_is_fresh else BindingGrade.NONE
        grades = {wanted: BindingGrade.KEY_BOUND}
        if evidence.challenge not in PUBLISHED_NONCES:  # as no challenge of a service is
            grades[evidence.challenge] = of_challenge
    if len(found) != 1 or not found <= grades.keys():
        raise NotAuthentic(
            Reason.GPU_NONCE,
            found=", ".join(nonce.hex() for nonce in dict.fromkeys(nonces)),
            wanted=" or ".join(nonce.hex() for nonce in grades),
        )
    return grades[nonces[0]]
