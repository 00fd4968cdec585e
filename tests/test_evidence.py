"""The wire form of evidence: what is taken, and each thing that is not, with its reason (A06-A09, T47, T50, X16)."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestd.codec import dump_base64, dump_base64url, dump_digest
from attestd.errors import Malformed, Reason
from attestd.evidence import (
    AMD_ENDORSEMENT_NAMES,
    ENDORSEMENT_NAMES,
    INTEL_ENDORSEMENT_NAMES,
    MAX_CERTIFICATES_SIZE,
    MAX_ENDORSEMENT_SIZE,
    MAX_EVENT_LOG_SIZE,
    MAX_GPU_CERTIFICATES_SIZE,
    MAX_GPU_REPORT_SIZE,
    MAX_GPUS,
    MAX_HCL_REPORT_SIZE,
    MAX_MODELS,
    MAX_OCSP_ANSWER_SIZE,
    MAX_OCSP_ANSWERS,
    MAX_POLICY_NAME,
    MAX_POLICY_SIZE,
    MAX_PROOF_SIZE,
    MAX_QUOTE_SIZE,
    MAX_RA_TLS_CERTIFICATE_SIZE,
    MAX_RIM_SIZE,
    MAX_RIMS,
    MAX_SNP_REPORT_SIZE,
    MAX_SPKI_SIZE,
    MAX_TPM_QUOTE_SIZE,
    NVIDIA_ENDORSEMENT_NAMES,
    PCRS_SIZE,
    AppraisalRequest,
    Evidence,
    GpuEvidence,
    HclEvidence,
    KeyEvidence,
    QuoteEvidence,
    RaTlsEvidence,
    Scheme,
    SnpEvidence,
    TpmQuoteEvidence,
    dump_evidence_json,
    load_appraisal_request_cbor,
    load_appraisal_request_json,
    load_evidence_cbor,
    load_evidence_json,
)

CHALLENGE = bytes(range(224, 256))
MODELS = (b"\1" * 32, b"\2" * 32)
EVIDENCE = Evidence(
    challenge=CHALLENGE,
    binding=Scheme.ATTESTD_V1,
    key=KeyEvidence(spki=b"spki", proof=b"proof"),
    models=MODELS,
    policy="strict-tdx",
    cpu=QuoteEvidence(tee="tdx", quote=b"quote", event_log=b"log"),
)
COCOON = replace(
    EVIDENCE,
    binding=Scheme.COCOON,
    key=KeyEvidence(spki=b"spki", proof=b"proof", role="worker"),
    cpu=RaTlsEvidence(certificate=b"certificate"),
)
PCRS = bytes(range(256)) * 3
SNP = replace(EVIDENCE, cpu=SnpEvidence(report=b"report", certificates=b"certificates"))
AZURE_QUOTE = TpmQuoteEvidence(message=b"message", signature=b"signature", pcrs=PCRS)
AZURE = replace(EVIDENCE, cpu=HclEvidence(hcl_report=b"hcl", tpm_quote=AZURE_QUOTE, certificates=b"certificates"))
GPUS = (
    GpuEvidence(arch="HOPPER", report=b"report of a GPU", certificates=b"its chain"),
    GpuEvidence(arch="BLACKWELL", report=b"another", certificates=b"chain"),
    GpuEvidence(arch="LS10", report=b"a switch", certificates=b"chain"),
)
WITH_GPUS = replace(EVIDENCE, gpus=GPUS)

# A body in which byte strings stand for themselves: as CBOR it goes out like this, as JSON in base64.
BODY: dict[str, Any] = {
    "challenge": CHALLENGE,
    "binding": "attestd/v1",
    "key": {"spki": b"spki", "proof": b"proof", "role": None},
    "models": [dump_digest(model) for model in MODELS],
    "policy": "strict-tdx",
    "cpu": {"tee": "tdx", "quote": b"quote", "event_log": b"log"},
    "gpus": [],
}
COCOON_BODY = BODY | {
    "binding": "cocoon",
    "key": {"spki": b"spki", "proof": b"proof", "role": "worker"},
    "cpu": {"tee": "tdx", "ra_tls_certificate": b"certificate"},
}
SNP_BODY = BODY | {"cpu": {"tee": "snp", "report": b"report", "certificates": b"certificates"}}
AZURE_BODY = BODY | {
    "cpu": {
        "tee": "snp",
        "hcl_report": b"hcl",
        "tpm_quote": {"message": b"message", "signature": b"signature", "pcrs": PCRS},
        "certificates": b"certificates",
    }
}
GPU_BODY: dict[str, Any] = {"arch": "HOPPER", "report": b"report of a GPU", "certificates": b"its chain"}
GPUS_BODY = BODY | {
    "gpus": [
        GPU_BODY,
        {"arch": "BLACKWELL", "report": b"another", "certificates": b"chain"},
        {"arch": "LS10", "report": b"a switch", "certificates": b"chain"},
    ]
}


def as_json(body: Any) -> bytes:
    def encode(value: Any, name: str = "") -> Any:
        match value:
            case bytes():
                return dump_base64url(value) if name == "challenge" else dump_base64(value)
            case dict():
                return {inner: encode(member, inner) for inner, member in value.items()}
            case list():
                return [encode(entry) for entry in value]
            case _:
                return value

    return json.dumps(encode(body)).encode()


def without(body: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in names}


def changed(path: str, value: Any, body: dict[str, Any] = BODY) -> dict[str, Any]:
    head, _, rest = path.partition(".")
    return body | {head: changed(rest, value, body[head]) if rest else value}


def refused(call: Callable[[], object], *reasons: Reason) -> str:
    with pytest.raises(Malformed) as caught:
        call()
    assert caught.value.reason in reasons
    return str(caught.value)


def refused_in_both_forms(body: Any, reason: Reason) -> None:
    cbor_reason = Reason.CBOR_SCHEMA if reason is Reason.JSON_SCHEMA else reason
    for load in (load_evidence_json, load_appraisal_request_json):
        refused(lambda load=load: load(as_json(body)), reason)  # type: ignore[misc]
    for load in (load_evidence_cbor, load_appraisal_request_cbor):
        refused(lambda load=load: load(cbor2.dumps(body)), cbor_reason)  # type: ignore[misc]


# ---------------------------------------------------------------------------------------------------------------------
# What is taken


@pytest.mark.parametrize(
    ("body", "evidence"),
    [
        (BODY, EVIDENCE),
        (COCOON_BODY, COCOON),
        (changed("key.role", "proxy", COCOON_BODY), replace(COCOON, key=replace(COCOON.key, role="proxy"))),
        (changed("models", BODY["models"][::-1]), EVIDENCE),
        (changed("policy", None), replace(EVIDENCE, policy=None)),
        (without(BODY, "policy", "gpus"), replace(EVIDENCE, policy=None)),
        (without(BODY, "models"), replace(EVIDENCE, models=())),
        (changed("gpus", None), EVIDENCE),
        (changed("key", {"spki": b"spki"}), replace(EVIDENCE, key=KeyEvidence(spki=b"spki"))),
        (changed("cpu.event_log", None), replace(EVIDENCE, cpu=QuoteEvidence(tee="tdx", quote=b"quote"))),
        (
            changed("cpu", {"tee": "sgx", "quote": b"quote"}),
            replace(EVIDENCE, cpu=QuoteEvidence(tee="sgx", quote=b"quote")),
        ),
        (SNP_BODY, SNP),
        (changed("cpu.certificates", None, SNP_BODY), replace(SNP, cpu=SnpEvidence(report=b"report"))),
        (changed("cpu", {"tee": "snp", "report": b"r"}), replace(SNP, cpu=SnpEvidence(report=b"r"))),
        (changed("binding", "spki-sha256", SNP_BODY), replace(SNP, binding=Scheme.SPKI_SHA256)),
        (AZURE_BODY, AZURE),
        (changed("binding", "nonce-and-key", AZURE_BODY), replace(AZURE, binding=Scheme.NONCE_AND_KEY)),
        (
            changed("cpu.certificates", None, changed("cpu.tpm_quote.pcrs", None, AZURE_BODY)),
            replace(AZURE, cpu=HclEvidence(hcl_report=b"hcl", tpm_quote=replace(AZURE_QUOTE, pcrs=None))),
        ),
        (
            changed("cpu", {"tee": "snp", "hcl_report": b"h", "tpm_quote": {"message": b"m", "signature": b"s"}}),
            replace(
                AZURE,
                cpu=HclEvidence(hcl_report=b"h", tpm_quote=TpmQuoteEvidence(message=b"m", signature=b"s")),
            ),
        ),
        (GPUS_BODY, WITH_GPUS),
        (changed("gpus", GPUS_BODY["gpus"][::-1]), replace(EVIDENCE, gpus=GPUS[::-1])),
        (changed("gpus", [GPU_BODY, GPU_BODY]), replace(EVIDENCE, gpus=GPUS[:1] * 2)),
        (GPUS_BODY | {"cpu": SNP_BODY["cpu"]}, replace(SNP, gpus=GPUS)),
        (GPUS_BODY | {"cpu": AZURE_BODY["cpu"]}, replace(AZURE, gpus=GPUS)),
        (COCOON_BODY | {"gpus": GPUS_BODY["gpus"]}, replace(COCOON, gpus=GPUS)),
        (changed("binding", "spki-sha256"), replace(EVIDENCE, binding=Scheme.SPKI_SHA256)),
        (changed("binding", "nonce-and-key"), replace(EVIDENCE, binding=Scheme.NONCE_AND_KEY)),
    ],
)
def test_both_forms_mean_the_same(body: dict[str, Any], evidence: Evidence) -> None:
    assert load_evidence_json(as_json(body)) == evidence
    assert load_evidence_cbor(cbor2.dumps(body)) == evidence
    request = AppraisalRequest(cpu=evidence.cpu, gpus=evidence.gpus, evidence=evidence, policy=evidence.policy)
    assert load_appraisal_request_json(as_json(body)) == request
    assert load_appraisal_request_cbor(cbor2.dumps(body)) == request


@pytest.mark.parametrize(
    "evidence",
    [
        EVIDENCE,
        COCOON,
        replace(EVIDENCE, key=KeyEvidence(spki=b"s"), models=()),
        SNP,
        replace(SNP, cpu=SnpEvidence(report=b"report")),
        AZURE,
        replace(AZURE, cpu=HclEvidence(hcl_report=b"hcl", tpm_quote=replace(AZURE_QUOTE, pcrs=None))),
        WITH_GPUS,
        replace(WITH_GPUS, gpus=GPUS[::-1]),
        replace(SNP, gpus=GPUS[:1]),
    ],
)
def test_evidence_round_trips(evidence: Evidence) -> None:
    assert load_evidence_json(dump_evidence_json(evidence)) == evidence


def test_sizes_up_to_the_limits() -> None:
    models = [f"sha256:{number:064x}" for number in range(MAX_MODELS)]
    body = changed("models", models)
    body = changed("policy", "p" * MAX_POLICY_NAME, body)
    body = changed("key", {"spki": bytes(MAX_SPKI_SIZE), "proof": bytes(MAX_PROOF_SIZE)}, body)
    cpu = {"tee": "tdx", "quote": bytes(MAX_QUOTE_SIZE), "event_log": bytes(MAX_EVENT_LOG_SIZE)}
    evidence = load_evidence_json(as_json(changed("cpu", cpu, body)))
    assert len(evidence.models) == MAX_MODELS
    assert load_evidence_cbor(cbor2.dumps(changed("cpu", cpu, body))) == evidence
    certificate = changed("cpu.ra_tls_certificate", bytes(MAX_RA_TLS_CERTIFICATE_SIZE), COCOON_BODY)
    load_evidence_json(as_json(certificate))


def test_sizes_up_to_the_limits_of_snp() -> None:
    bounds = {"report": bytes(MAX_SNP_REPORT_SIZE), "certificates": bytes(MAX_CERTIFICATES_SIZE)}
    azure = {
        "hcl_report": bytes(MAX_HCL_REPORT_SIZE),
        "tpm_quote": {"message": bytes(MAX_TPM_QUOTE_SIZE), "signature": bytes(MAX_TPM_QUOTE_SIZE)},
        "certificates": bytes(MAX_CERTIFICATES_SIZE),
    }
    for cpu in (bounds, azure):
        body = changed("cpu", {"tee": "snp", **cpu})
        assert load_evidence_json(as_json(body)) == load_evidence_cbor(cbor2.dumps(body))


def test_sizes_up_to_the_limits_of_gpus() -> None:
    gpu = {"arch": "LS10", "report": bytes(MAX_GPU_REPORT_SIZE), "certificates": bytes(MAX_GPU_CERTIFICATES_SIZE)}
    body = changed("gpus", [gpu] * MAX_GPUS)
    evidence = load_evidence_json(as_json(body))
    assert len(evidence.gpus) == MAX_GPUS
    assert load_evidence_cbor(cbor2.dumps(body)) == evidence


def test_evidence_of_amd_has_no_event_log() -> None:
    assert (SNP.cpu.event_log, AZURE.cpu.event_log) == (None, None)


# ---------------------------------------------------------------------------------------------------------------------
# What is not

SCHEMA = Reason.JSON_SCHEMA
REFUSED: dict[str, tuple[Any, Reason]] = {
    "null": (None, SCHEMA),
    "a list": ([BODY], SCHEMA),
    "empty": ({}, SCHEMA),
    "unknown member": (BODY | {"test_purpose": True}, SCHEMA),
    "unknown member that is null": (BODY | {"simulated": None}, SCHEMA),
    "member of another case": (BODY | {"Policy": "a"}, SCHEMA),
    "unknown member of the key": (changed("key", BODY["key"] | {"x": 1}), SCHEMA),
    "unknown member of the cpu": (changed("cpu", BODY["cpu"] | {"fake": True}), SCHEMA),
    "a homoglyph of quote": (changed("cpu", {"tee": "tdx", "qu\u043ete": b"quote"}), SCHEMA),
    "collateral of the provider's": (BODY | {"collateral": {"pccs_url": "http://169.254.169.254/"}}, SCHEMA),
    "no challenge": (without(BODY, "challenge"), SCHEMA),
    "challenge of 31 bytes": (changed("challenge", bytes(31)), SCHEMA),
    "challenge of 33 bytes": (changed("challenge", bytes(33)), SCHEMA),
    "empty challenge": (changed("challenge", b""), SCHEMA),
    "challenge a number": (changed("challenge", 1), SCHEMA),
    "no binding": (without(BODY, "binding"), SCHEMA),
    "binding null": (changed("binding", None), SCHEMA),
    "unknown binding": (changed("binding", "attestd/v2"), Reason.BINDING_SCHEME),
    "binding none": (changed("binding", "none"), Reason.BINDING_SCHEME),
    "binding in capitals": (changed("binding", "ATTESTD/V1"), Reason.BINDING_SCHEME),
    "no key": (without(BODY, "key"), SCHEMA),
    "key as bytes": (changed("key", b"spki"), SCHEMA),
    "no spki": (changed("key", {"proof": b"proof"}), SCHEMA),
    "empty spki": (changed("key.spki", b""), SCHEMA),
    "spki too large": (changed("key.spki", bytes(MAX_SPKI_SIZE + 1)), Reason.EVIDENCE_SIZE),
    "empty proof": (changed("key.proof", b""), SCHEMA),
    "proof too large": (changed("key.proof", bytes(MAX_PROOF_SIZE + 1)), Reason.EVIDENCE_SIZE),
    "role without cocoon": (changed("key.role", "worker"), SCHEMA),
    "unknown role without cocoon": (changed("key.role", "admin"), SCHEMA),
    "cocoon without role": (changed("key.role", None, COCOON_BODY), SCHEMA),
    "cocoon with an unknown role": (changed("key.role", "admin", COCOON_BODY), SCHEMA),
    "models null": (changed("models", None), SCHEMA),
    "models an object": (changed("models", {}), SCHEMA),
    "a model that is no text": (changed("models", [1]), SCHEMA),
    "an empty model": (changed("models", [""]), SCHEMA),
    "too many models": (changed("models", ["sha256:" + "0" * 64] * (MAX_MODELS + 1)), SCHEMA),
    "model of another algorithm": (changed("models", ["sha512:" + "0" * 128]), Reason.BINDING_MODELS),
    "model without algorithm": (changed("models", ["0" * 64]), Reason.BINDING_MODELS),
    "model of another length": (changed("models", ["sha256:" + "0" * 62]), Reason.BINDING_MODELS),
    "model in capitals": (changed("models", ["sha256:" + "A" * 64]), Reason.BINDING_MODELS),
    "a model twice": (changed("models", [BODY["models"][0]] * 2), Reason.BINDING_MODELS),
    "empty policy": (changed("policy", ""), SCHEMA),
    "policy a number": (changed("policy", 1), SCHEMA),
    "policy too long": (changed("policy", "p" * (MAX_POLICY_NAME + 1)), SCHEMA),
    "no cpu": (without(BODY, "cpu"), SCHEMA),
    "cpu a list": (changed("cpu", [BODY["cpu"]]), SCHEMA),
    "no tee": (changed("cpu", {"quote": b"quote"}), SCHEMA),
    "tee a number": (changed("cpu.tee", 0x81), SCHEMA),
    "tee in capitals": (changed("cpu.tee", "TDX"), Reason.EVIDENCE_KIND),
    "tee simulated": (changed("cpu.tee", "simulated"), Reason.EVIDENCE_KIND),
    "tee fake_tdx": (changed("cpu.tee", "fake_tdx"), Reason.EVIDENCE_KIND),
    "tee any": (changed("cpu.tee", "any"), Reason.EVIDENCE_KIND),
    "tee snp with a quote": (changed("cpu.tee", "snp"), SCHEMA),
    "tee snp in capitals": (changed("cpu.tee", "SNP", SNP_BODY), Reason.EVIDENCE_KIND),
    "a report for tdx": (changed("cpu.tee", "tdx", SNP_BODY), SCHEMA),
    "a report for sgx": (changed("cpu.tee", "sgx", SNP_BODY), SCHEMA),
    "no report": (changed("cpu", {"tee": "snp", "certificates": b"c"}), SCHEMA),
    "report null": (changed("cpu.report", None, SNP_BODY), SCHEMA),
    "empty report": (changed("cpu.report", b"", SNP_BODY), SCHEMA),
    "report a list": (changed("cpu.report", [2, 0], SNP_BODY), SCHEMA),
    "report too large": (changed("cpu.report", bytes(MAX_SNP_REPORT_SIZE + 1), SNP_BODY), Reason.EVIDENCE_SIZE),
    "empty certificates": (changed("cpu.certificates", b"", SNP_BODY), SCHEMA),
    "certificates a list": (changed("cpu.certificates", [b"vcek", b"ask"], SNP_BODY), SCHEMA),
    "certificates too large": (
        changed("cpu.certificates", bytes(MAX_CERTIFICATES_SIZE + 1), SNP_BODY),
        Reason.EVIDENCE_SIZE,
    ),
    "event log beside the report": (changed("cpu", SNP_BODY["cpu"] | {"event_log": b"log"}), SCHEMA),
    "event log beside the report that is null": (changed("cpu", SNP_BODY["cpu"] | {"event_log": None}), SCHEMA),
    "quote beside the report": (changed("cpu", SNP_BODY["cpu"] | {"quote": b"quote"}), SCHEMA),
    "RA-TLS certificate beside the report": (changed("cpu", SNP_BODY["cpu"] | {"ra_tls_certificate": b"c"}), SCHEMA),
    "quote of a TPM beside the bare report": (
        changed("cpu", SNP_BODY["cpu"] | {"tpm_quote": AZURE_BODY["cpu"]["tpm_quote"]}),
        SCHEMA,
    ),
    "unknown member beside the report": (changed("cpu", SNP_BODY["cpu"] | {"vmpl": 0}), SCHEMA),
    "role beside the report": (changed("key.role", "worker", SNP_BODY), SCHEMA),
    "cocoon with a report": (changed("cpu", SNP_BODY["cpu"], COCOON_BODY), SCHEMA),
    "a GPU that is no GPU beside the report": (changed("gpus", [{"arch": "HOPPER"}], SNP_BODY), SCHEMA),
    "report beside the HCL report": (changed("cpu", AZURE_BODY["cpu"] | {"report": b"r"}), SCHEMA),
    "HCL report for tdx": (changed("cpu.tee", "tdx", AZURE_BODY), SCHEMA),
    "HCL report null": (changed("cpu.hcl_report", None, AZURE_BODY), SCHEMA),
    "empty HCL report": (changed("cpu.hcl_report", b"", AZURE_BODY), SCHEMA),
    "HCL report too large": (
        changed("cpu.hcl_report", bytes(MAX_HCL_REPORT_SIZE + 1), AZURE_BODY),
        Reason.EVIDENCE_SIZE,
    ),
    "HCL report alone": (changed("cpu", without(AZURE_BODY["cpu"], "tpm_quote")), SCHEMA),
    "quote of a TPM alone": (changed("cpu", without(AZURE_BODY["cpu"], "hcl_report")), SCHEMA),
    "quote of a TPM null": (changed("cpu.tpm_quote", None, AZURE_BODY), SCHEMA),
    "quote of a TPM as bytes": (changed("cpu.tpm_quote", b"message", AZURE_BODY), SCHEMA),
    "quote of a TPM without message": (changed("cpu.tpm_quote", {"signature": b"s", "pcrs": PCRS}, AZURE_BODY), SCHEMA),
    "quote of a TPM without signature": (changed("cpu.tpm_quote", {"message": b"m"}, AZURE_BODY), SCHEMA),
    "empty message": (changed("cpu.tpm_quote.message", b"", AZURE_BODY), SCHEMA),
    "empty signature": (changed("cpu.tpm_quote.signature", b"", AZURE_BODY), SCHEMA),
    "message too large": (
        changed("cpu.tpm_quote.message", bytes(MAX_TPM_QUOTE_SIZE + 1), AZURE_BODY),
        Reason.EVIDENCE_SIZE,
    ),
    "signature too large": (
        changed("cpu.tpm_quote.signature", bytes(MAX_TPM_QUOTE_SIZE + 1), AZURE_BODY),
        Reason.EVIDENCE_SIZE,
    ),
    "unknown member of the quote": (
        changed("cpu.tpm_quote", AZURE_BODY["cpu"]["tpm_quote"] | {"nonce": b"n"}, AZURE_BODY),
        SCHEMA,
    ),
    "no register": (changed("cpu.tpm_quote.pcrs", b"", AZURE_BODY), SCHEMA),
    "a register too few": (changed("cpu.tpm_quote.pcrs", bytes(PCRS_SIZE - 32), AZURE_BODY), SCHEMA),
    "a byte too many": (changed("cpu.tpm_quote.pcrs", bytes(PCRS_SIZE + 1), AZURE_BODY), SCHEMA),
    "registers of another bank": (changed("cpu.tpm_quote.pcrs", bytes(24 * 20), AZURE_BODY), SCHEMA),
    "registers in a list": (changed("cpu.tpm_quote.pcrs", [bytes(32)] * 24, AZURE_BODY), SCHEMA),
    "empty certificates beside the HCL report": (changed("cpu.certificates", b"", AZURE_BODY), SCHEMA),
    "cocoon with an HCL report": (changed("cpu", AZURE_BODY["cpu"], COCOON_BODY), SCHEMA),
    "no quote": (changed("cpu", {"tee": "tdx"}), SCHEMA),
    "quote null": (changed("cpu.quote", None), SCHEMA),
    "empty quote": (changed("cpu.quote", b""), SCHEMA),
    "quote too large": (changed("cpu.quote", bytes(MAX_QUOTE_SIZE + 1)), Reason.EVIDENCE_SIZE),
    "quote a list of numbers": (changed("cpu.quote", [4, 0]), SCHEMA),
    "empty event log": (changed("cpu.event_log", b""), SCHEMA),
    "event log too large": (changed("cpu.event_log", bytes(MAX_EVENT_LOG_SIZE + 1)), Reason.EVIDENCE_SIZE),
    "event log of an enclave": (changed("cpu.tee", "sgx"), SCHEMA),
    "report beside the quote": (changed("cpu", BODY["cpu"] | {"report": b"r"}), SCHEMA),
    "certificate beside the quote": (changed("cpu", BODY["cpu"] | {"ra_tls_certificate": b"c"}), SCHEMA),
    "certificate for an enclave": (changed("cpu.tee", "sgx", COCOON_BODY), Reason.EVIDENCE_KIND),
    "certificate without cocoon": (changed("cpu", COCOON_BODY["cpu"]), SCHEMA),
    "cocoon without certificate": (changed("cpu", BODY["cpu"], COCOON_BODY), SCHEMA),
    "empty certificate": (changed("cpu.ra_tls_certificate", b"", COCOON_BODY), SCHEMA),
    "certificate too large": (
        changed("cpu.ra_tls_certificate", bytes(MAX_RA_TLS_CERTIFICATE_SIZE + 1), COCOON_BODY),
        Reason.EVIDENCE_SIZE,
    ),
    "gpus an object": (changed("gpus", {}), SCHEMA),
    "gpus in bytes": (changed("gpus", b"report"), SCHEMA),
    "gpus false": (changed("gpus", False), SCHEMA),
    "too many GPUs": (changed("gpus", [GPU_BODY] * (MAX_GPUS + 1)), SCHEMA),
    "a GPU that is no object": (changed("gpus", ["HOPPER"]), SCHEMA),
    "a GPU that is null": (changed("gpus", [GPU_BODY, None]), SCHEMA),
    "a GPU in a list": (changed("gpus", [[GPU_BODY]]), SCHEMA),
    "empty GPU evidence": (changed("gpus", [{}]), SCHEMA),
    "the last GPU is amiss": (changed("gpus", [GPU_BODY, without(GPU_BODY, "report")]), SCHEMA),
    **{f"a GPU without {name}": (changed("gpus", [without(GPU_BODY, name)]), SCHEMA) for name in GPU_BODY},
    **{f"a GPU with {name} null": (changed("gpus", [GPU_BODY | {name: None}]), SCHEMA) for name in GPU_BODY},
    **{f"a GPU with {name} a number": (changed("gpus", [GPU_BODY | {name: 1}]), SCHEMA) for name in GPU_BODY},
    **{
        f"a GPU with {name} empty": (changed("gpus", [GPU_BODY | {name: b""}]), SCHEMA)
        for name in ("report", "certificates")
    },
    "certificates of a GPU in a list": (changed("gpus", [GPU_BODY | {"certificates": [b"leaf", b"root"]}]), SCHEMA),
    "unknown member of a GPU": (changed("gpus", [GPU_BODY | {"nonce": bytes(32)}]), SCHEMA),
    "verdict beside a GPU": (changed("gpus", [GPU_BODY | {"measres": "success"}]), SCHEMA),
    **{
        f"arch {arch!r}": (changed("gpus", [GPU_BODY | {"arch": arch}]), SCHEMA)
        for arch in ("", "hopper", "HOPPER ", "AMPERE", "GPU", "H100", "H\u041ePPER", "any")
    },
    "report of a GPU too large": (
        changed("gpus", [GPU_BODY | {"report": bytes(MAX_GPU_REPORT_SIZE + 1)}]),
        Reason.EVIDENCE_SIZE,
    ),
    "certificates of a GPU too large": (
        changed("gpus", [GPU_BODY | {"certificates": bytes(MAX_GPU_CERTIFICATES_SIZE + 1)}]),
        Reason.EVIDENCE_SIZE,
    ),
}


@pytest.mark.parametrize(("body", "reason"), REFUSED.values(), ids=REFUSED)
def test_anything_else_is_refused(body: Any, reason: Reason) -> None:
    refused_in_both_forms(body, reason)


def test_encodings_are_not_mixed() -> None:
    """T47: one encoding per field."""
    # The challenge has bytes whose digits differ between the two alphabets.
    text = json.loads(as_json(BODY))
    assert set("-_") & set(text["challenge"])
    for path, wrong in {
        "challenge": dump_base64(CHALLENGE),
        "cpu.quote": dump_base64url(b"quote"),
        "key.spki": "c3BraQ",
        "key.proof": "cHJvb2Y",
    }.items():
        refused(lambda p=path, w=wrong: load_evidence_json(as_json(changed(p, w, text))), Reason.BASE64_MALFORMED)  # type: ignore[misc]
    for quote in ("0x0400", " cXVvdGU=", "cXVv dGU=", "cXVvdGU=\n", "cXVvdGV=", "%", "=" * 100_000, "cXVvdGU=cXVvdGU="):
        refused(lambda q=quote: load_evidence_json(as_json(changed("cpu.quote", q, text))), Reason.BASE64_MALFORMED)  # type: ignore[misc]
    for body, path in (
        (SNP_BODY, "cpu.report"),
        (SNP_BODY, "cpu.certificates"),
        (AZURE_BODY, "cpu.hcl_report"),
        (AZURE_BODY, "cpu.tpm_quote.message"),
        (AZURE_BODY, "cpu.tpm_quote.signature"),
        (AZURE_BODY, "cpu.tpm_quote.pcrs"),
    ):
        wrong_text = changed(path, "-_8=", json.loads(as_json(body)))
        refused(lambda b=wrong_text: load_evidence_json(as_json(b)), Reason.BASE64_MALFORMED)  # type: ignore[misc]
        wrong_type = cbor2.dumps(changed(path, "cXVvdGU=", body))
        refused(lambda b=wrong_type: load_evidence_cbor(b), Reason.CBOR_SCHEMA)  # type: ignore[misc]
    for name in ("report", "certificates"):
        gpus = json.loads(as_json(GPUS_BODY))["gpus"]
        wrong_text = text | {"gpus": [gpus[0] | {name: "-_8="}]}
        refused(lambda b=wrong_text: load_evidence_json(as_json(b)), Reason.BASE64_MALFORMED)  # type: ignore[misc]
        wrong_type = cbor2.dumps(changed("gpus", [GPU_BODY | {name: "cXVvdGU="}]))
        refused(lambda b=wrong_type: load_evidence_cbor(b), Reason.CBOR_SCHEMA)  # type: ignore[misc]
    # In CBOR base64 is not read at all, and in JSON there are no byte strings to be had.
    for path in ("challenge", "cpu.quote", "key.spki", "key.proof", "cpu.event_log"):
        refused(lambda p=path: load_evidence_cbor(cbor2.dumps(changed(p, "cXVvdGU="))), Reason.CBOR_SCHEMA)  # type: ignore[misc]


def test_a_member_twice_is_refused() -> None:
    raw = as_json(BODY)
    twice = raw[:-1] + b', "binding": "cocoon"}'
    refused(lambda: load_evidence_json(twice), Reason.JSON_DUPLICATE_MEMBER)
    inner = raw.replace(b'"tee": "tdx"', b'"tee": "tdx", "tee": "sgx"')
    refused(lambda: load_evidence_json(inner), Reason.JSON_DUPLICATE_MEMBER)
    gpu = as_json(GPUS_BODY).replace(b'"arch": "LS10"', b'"arch": "HOPPER", "arch": "LS10"')
    refused(lambda: load_evidence_json(gpu), Reason.JSON_DUPLICATE_MEMBER)
    map_of_two = b"\xa2" + cbor2.dumps("tee") + cbor2.dumps("tdx") + cbor2.dumps("tee") + cbor2.dumps("sgx")
    refused(lambda: load_evidence_cbor(map_of_two), Reason.CBOR_MALFORMED)


def test_the_forms_are_not_mistaken_for_each_other() -> None:
    refused(lambda: load_evidence_json(cbor2.dumps(BODY)), Reason.JSON_MALFORMED)
    refused(lambda: load_evidence_cbor(as_json(BODY)), Reason.CBOR_MALFORMED)


def test_refusals_echo_nothing() -> None:
    secret = "hunter2!" * 1000
    for body in (
        BODY | {secret: 1},
        changed("binding", secret[:200]),
        changed("policy", secret),
        changed("models", [secret[:200]]),
        changed("cpu.tee", secret[:200]),
        changed("cpu.quote", secret),
        changed("gpus", [GPU_BODY | {"arch": secret[:200]}]),
        changed("gpus", [GPU_BODY | {secret[:200]: 1}]),
    ):
        with pytest.raises(Malformed) as caught:
            load_evidence_json(as_json(body))
        assert "hunter2" not in str(caught.value)
        assert len(str(caught.value)) < 500


@given(st.binary(max_size=60), st.data())
def test_no_bytes_leak_another_error(raw: bytes, data: st.DataObject) -> None:
    for load, form in ((load_evidence_json, as_json(GPUS_BODY)), (load_evidence_cbor, cbor2.dumps(GPUS_BODY))):
        position = data.draw(st.integers(0, len(form)))
        for document in (raw, form[:position] + raw, form[:position] + raw + form[position:]):
            with suppress(Malformed):
                load(document)


def test_evidence_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        EVIDENCE.challenge = bytes(32)  # type: ignore[misc]


# ---------------------------------------------------------------------------------------------------------------------
# The dry run

BARE = {"cpu": BODY["cpu"]}


@pytest.mark.parametrize(
    "body",
    [
        BARE,
        BARE | {"models": [], "gpus": []},
        BARE | {"challenge": None, "binding": None, "key": None, "policy": None, "policy_toml": None},
        BARE | {"at": None, "endorsements": None},
        BARE | {"endorsements": {}},
    ],
)
def test_a_bare_quote_may_be_appraised(body: dict[str, Any]) -> None:
    request = AppraisalRequest(cpu=EVIDENCE.cpu, gpus=(), evidence=None)
    assert load_appraisal_request_json(as_json(body)) == request
    assert load_appraisal_request_cbor(cbor2.dumps(body)) == request
    refused(lambda: load_evidence_json(as_json(body)), SCHEMA)


def test_a_bare_certificate_may_be_appraised() -> None:
    request = load_appraisal_request_json(as_json({"cpu": COCOON_BODY["cpu"]}))
    assert request == AppraisalRequest(cpu=COCOON.cpu, gpus=(), evidence=None)


@pytest.mark.parametrize(("body", "evidence"), [(SNP_BODY, SNP), (AZURE_BODY, AZURE)])
def test_a_bare_report_may_be_appraised(body: dict[str, Any], evidence: Evidence) -> None:
    endorsements = {name: name.encode() for name in AMD_ENDORSEMENT_NAMES}
    bare = {"cpu": body["cpu"], "endorsements": endorsements}
    request = AppraisalRequest(cpu=evidence.cpu, gpus=(), evidence=None, endorsements=endorsements)
    assert load_appraisal_request_json(as_json(bare)) == request
    assert load_appraisal_request_cbor(cbor2.dumps(bare)) == request


def test_gpus_may_be_appraised_without_a_key() -> None:
    body = BARE | {"gpus": GPUS_BODY["gpus"]}
    request = AppraisalRequest(cpu=EVIDENCE.cpu, gpus=GPUS, evidence=None)
    assert load_appraisal_request_json(as_json(body)) == request
    assert load_appraisal_request_cbor(cbor2.dumps(body)) == request


def test_no_endorsement_has_two_meanings() -> None:
    vendors = (INTEL_ENDORSEMENT_NAMES, AMD_ENDORSEMENT_NAMES, NVIDIA_ENDORSEMENT_NAMES)
    assert len({*ENDORSEMENT_NAMES, *NVIDIA_ENDORSEMENT_NAMES}) == sum(map(len, vendors))


def test_everything_at_once() -> None:
    endorsements = {name: name.encode() for name in ENDORSEMENT_NAMES}
    body = without(GPUS_BODY, "policy") | {
        "policy_toml": "p" * MAX_POLICY_SIZE,
        "at": "2026-06-01T02:00:00+02:00",
        "endorsements": endorsements | {"rims": [b"<driver/>", b"<vbios/>"], "ocsp": [b"0"]},
    }
    request = load_appraisal_request_json(as_json(body))
    assert request == AppraisalRequest(
        cpu=EVIDENCE.cpu,
        gpus=GPUS,
        rims=(b"<driver/>", b"<vbios/>"),
        ocsp=(b"0",),
        evidence=replace(WITH_GPUS, policy=None),
        policy_toml="p" * MAX_POLICY_SIZE,
        at=datetime(2026, 6, 1, tzinfo=UTC),
        endorsements=endorsements,
    )
    assert load_appraisal_request_cbor(cbor2.dumps(body)) == request


def test_some_of_the_endorsements_may_be_given() -> None:
    request = load_appraisal_request_json(as_json(BARE | {"endorsements": {"pck_crl": b"c", "tcb_info": None}}))
    assert request.endorsements == {"pck_crl": b"c"}
    assert (request.rims, request.ocsp) == (None, None)


def test_no_document_at_all_is_another_thing_than_none_given() -> None:
    for body, rims, ocsp in (({"rims": [], "ocsp": None}, (), None), ({"ocsp": []}, None, ())):
        request = load_appraisal_request_json(as_json(BARE | {"endorsements": body}))
        assert (request.rims, request.ocsp) == (rims, ocsp)


def test_as_many_documents_of_nvidia_s_as_there_may_be() -> None:
    body = BARE | {
        "endorsements": {"rims": [b"<"] * MAX_RIMS, "ocsp": [bytes(MAX_OCSP_ANSWER_SIZE)] * MAX_OCSP_ANSWERS}
    }
    request = load_appraisal_request_cbor(cbor2.dumps(body))
    assert (request.rims, request.ocsp) == tuple(map(tuple, body["endorsements"].values()))
    largest = BARE | {"endorsements": {"rims": [bytes(MAX_RIM_SIZE)]}}
    assert load_appraisal_request_cbor(cbor2.dumps(largest)).rims == (bytes(MAX_RIM_SIZE),)


REFUSED_REQUESTS: dict[str, tuple[dict[str, Any], Reason]] = {
    "a challenge alone": (BARE | {"challenge": CHALLENGE}, SCHEMA),
    "a binding alone": (BARE | {"binding": "attestd/v1"}, SCHEMA),
    "a key alone": (BARE | {"key": BODY["key"]}, SCHEMA),
    "models alone": (BARE | {"models": BODY["models"]}, SCHEMA),
    "no challenge": (without(BODY, "challenge"), SCHEMA),
    "no key": (without(BODY, "key"), SCHEMA),
    "two policies": (BODY | {"policy_toml": "version = 1"}, SCHEMA),
    "empty policy": (BARE | {"policy_toml": ""}, SCHEMA),
    "policy too long": (BARE | {"policy_toml": "p" * (MAX_POLICY_SIZE + 1)}, SCHEMA),
    "policy in bytes": (BARE | {"policy_toml": ["p"]}, SCHEMA),
    "at a number": (BARE | {"at": 1780272000}, SCHEMA),
    "at without a zone": (BARE | {"at": "2026-06-01T00:00:00"}, SCHEMA),
    "endorsements a list": (BARE | {"endorsements": []}, SCHEMA),
    "unknown endorsement": (BARE | {"endorsements": {"pccs_url": b"http://localhost/"}}, SCHEMA),
    "endorsement with a path": (BARE | {"endorsements": {"../tcb_info": b"{}"}}, SCHEMA),
    "empty endorsement": (BARE | {"endorsements": {"tcb_info": b""}}, SCHEMA),
    "endorsement too large": (
        BARE | {"endorsements": {"pck_crl": bytes(MAX_ENDORSEMENT_SIZE + 1)}},
        Reason.EVIDENCE_SIZE,
    ),
    "one RIM and no list": (BARE | {"endorsements": {"rims": b"<rim/>"}}, SCHEMA),
    "RIMs by name": (BARE | {"endorsements": {"rims": {"driver": b"<rim/>"}}}, SCHEMA),
    "an empty RIM": (BARE | {"endorsements": {"rims": [b"<rim/>", b""]}}, SCHEMA),
    "RIMs of numbers": (BARE | {"endorsements": {"rims": [1]}}, SCHEMA),
    "too many RIMs": (BARE | {"endorsements": {"rims": [b"<"] * (MAX_RIMS + 1)}}, SCHEMA),
    "too many answers": (BARE | {"endorsements": {"ocsp": [b"0"] * (MAX_OCSP_ANSWERS + 1)}}, SCHEMA),
    "RIM too large": (BARE | {"endorsements": {"rims": [bytes(MAX_RIM_SIZE + 1)]}}, Reason.EVIDENCE_SIZE),
    "answer too large": (
        BARE | {"endorsements": {"ocsp": [b"0", bytes(MAX_OCSP_ANSWER_SIZE + 1)]}},
        Reason.EVIDENCE_SIZE,
    ),
    "unknown member": (BARE | {"anchors": b"root"}, SCHEMA),
    "a GPU that is none": (BARE | {"gpus": [{}]}, SCHEMA),
    "GPUs without a CPU": ({"gpus": [GPU_BODY]}, SCHEMA),
    "GPUs alone beside a key": (without(GPUS_BODY, "cpu"), SCHEMA),
}


@pytest.mark.parametrize(("body", "reason"), REFUSED_REQUESTS.values(), ids=REFUSED_REQUESTS)
def test_other_requests_are_refused(body: dict[str, Any], reason: Reason) -> None:
    refused(lambda: load_appraisal_request_json(as_json(body)), reason)
    cbor_reason = Reason.CBOR_SCHEMA if reason is SCHEMA else reason
    refused(lambda: load_appraisal_request_cbor(cbor2.dumps(body)), cbor_reason)


@pytest.mark.parametrize("name", ["at", "endorsements", "policy_toml"])
def test_what_is_for_the_dry_run_is_no_evidence(name: str) -> None:
    """C41: nobody brings the collateral, the time or the policy that their own registration is judged by."""
    extra = {"at": "2026-06-01T00:00:00Z", "endorsements": {"tcb_info": b"{}"}, "policy_toml": "version = 1"}[name]
    refused(lambda: load_evidence_json(as_json(BODY | {name: extra})), SCHEMA)
    refused(lambda: load_evidence_cbor(cbor2.dumps(BODY | {name: extra})), Reason.CBOR_SCHEMA)
