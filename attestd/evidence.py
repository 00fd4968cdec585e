"""Evidence and its wire form: what an attester sends, decoded strictly and bounded, with nothing verified.

The JSON form (`application/json`) of the body of `POST /v1/evidence`; base64 is RFC 4648, section 4, with padding:

    {"challenge": "<base64url, 32 bytes>",
     "binding": "attestd/v1" | "cocoon" | "spki-sha256" | "nonce-and-key",
     "key": {"spki": "<base64 DER>", "proof": "<base64>" | null, "role": "worker" | "proxy" | null},
     "models": ["sha256:<hex>", …],
     "policy": "<name>" | null,
     "cpu": {"tee": "tdx" | "sgx", "quote": "<base64>", "event_log": "<base64>" | null}
          | {"tee": "snp", "report": "<base64>", "certificates": "<base64>" | null}
          | {"tee": "snp", "hcl_report": "<base64>", "tpm_quote": {"message": "<base64>", "signature": "<base64>",
             "pcrs": "<base64, 24 x 32 bytes>" | null}, "certificates": "<base64>" | null},
     "gpus": [{"arch": "HOPPER" | "BLACKWELL" | "LS10", "report": "<base64>", "certificates": "<base64 PEM>"}, …]}

With the binding `cocoon`, `key.role` must be given and `cpu` is `{"tee": "tdx", "ra_tls_certificate": "<base64 DER>",
"event_log": …}`; with any other binding both are refused. An event log goes with TDX alone. `models`, `policy`, `gpus`,
`proof`, `role`, `event_log`, `pcrs` and `certificates` may be left out. The CBOR form (`application/cbor`) is the same
map, with byte strings in place of base64 and base64url.

The certificates of SEV-SNP are the table that an extended report comes with, or PEM: VCEK or VLEK, and where it is
known the ASK or ASVK. The table may also follow the report itself. `hcl_report` is what Azure's paravisor keeps in its
vTPM, with a report in it, and the quote is that vTPM's.

GPUs and NVSwitches stand in the order in which they were bound. A report is the SPDM request and response, the
certificates are the device's chain, leaf first.

Any other member, a member named twice, another type, and every size beyond the limits below is `Malformed`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from json import dumps
from typing import Final, Literal, TypeAlias

from attestd.codec import (
    CborFields,
    Fields,
    Json,
    dump_base64,
    dump_base64url,
    dump_digest,
    load_cbor,
    load_digest,
    load_json,
)
from attestd.errors import Malformed, Reason

# As this service issues them (binding.md).
CHALLENGE_SIZE: Final = 32
# Genuine quotes have at most 8,000 bytes (a cloud's fixed buffer); Intel's quoting library caps them at 64 KiB.
MAX_QUOTE_SIZE: Final = 64 * 1024
# Cocoon caps the quote in its extension at 32 KiB; the rest of the certificate takes less than 1 KiB.
MAX_RA_TLS_CERTIFICATE_SIZE: Final = 40 * 1024
# The log areas that firmware reserves, which attesters send whole, have 64 KiB or 256 KiB; room for four of the larger.
MAX_EVENT_LOG_SIZE: Final = 1024 * 1024
# A report has 1,184 bytes; Linux takes 16 KiB of certificates from a host (SEV_FW_BLOB_MAX_SIZE), here it is 64 KiB.
MAX_CERTIFICATES_SIZE: Final = 64 * 1024
MAX_SNP_REPORT_SIZE: Final = 1184 + MAX_CERTIFICATES_SIZE
# Azure's have 2,600 bytes.
MAX_HCL_REPORT_SIZE: Final = 16 * 1024
# A TPMS_ATTEST with the longest nonce has less than 300 bytes, an RSA-4096 signature with its frame 520.
MAX_TPM_QUOTE_SIZE: Final = 1024
# Eight GPUs and four NVSwitches make the largest machine there is.
MAX_GPUS: Final = 16
# Genuine reports have less than 4,400 bytes; the parser takes what DSP0274 allows.
MAX_GPU_REPORT_SIZE: Final = 8 * 1024
# Genuine chains of five certificates have some 4,700 bytes in PEM.
MAX_GPU_CERTIFICATES_SIZE: Final = 16 * 1024
# PCR 0 to 23 of the SHA-256 bank.
PCRS_SIZE: Final = 24 * 32
# RSA-8192, the largest key that binding takes, has an SPKI of 1,062 bytes and a signature of 1,024.
MAX_SPKI_SIZE: Final = 1100
MAX_PROOF_SIZE: Final = 1024
# One enclave serves a handful of models; the transcript grows by 32 bytes with each.
MAX_MODELS: Final = 64
MAX_POLICY_NAME: Final = 64
# The policies that are shipped have less than 8 KiB.
MAX_POLICY_SIZE: Final = 64 * 1024
# Vendor documents have less than 32 KiB; a CRL grows by some 40 bytes with each revoked platform.
MAX_ENDORSEMENT_SIZE: Final = 1024 * 1024
# Two of each GPU: of its driver and of its VBIOS.
MAX_RIMS: Final = 2 * MAX_GPUS
# Genuine RIMs have up to 26 KiB; base64 in the answer of NVIDIA's RIM service adds a third.
MAX_RIM_SIZE: Final = 512 * 1024
# About three certificates of each GPU, and three of each RIM.
MAX_OCSP_ANSWERS: Final = 3 * (MAX_GPUS + MAX_RIMS)
# Genuine answers have about 1.2 KiB.
MAX_OCSP_ANSWER_SIZE: Final = 16 * 1024

IntelTee: TypeAlias = Literal["tdx", "sgx"]
Tee: TypeAlias = Literal[IntelTee, "snp"]
Role: TypeAlias = Literal["worker", "proxy"]
Arch: TypeAlias = Literal["HOPPER", "BLACKWELL", "LS10"]

_INTEL: Final[Mapping[str, IntelTee]] = {"tdx": "tdx", "sgx": "sgx"}
TEES: Final[tuple[Tee, ...]] = (*_INTEL.values(), "snp")
_ROLES: Final[Mapping[str, Role]] = {"worker": "worker", "proxy": "proxy"}
_ARCHS: Final[Mapping[str, Arch]] = {"HOPPER": "HOPPER", "BLACKWELL": "BLACKWELL", "LS10": "LS10"}

# Intel's collateral under the file names that vendors' tools give it (tdx.md, section 3), AMD's certificates, and lists
# of NVIDIA's documents.
INTEL_ENDORSEMENT_NAMES: Final = (
    "tcb_info",
    "tcb_info_issuer_chain",
    "qe_identity",
    "qe_identity_issuer_chain",
    "root_ca_crl",
    "pck_crl",
    "pck_crl_issuer_chain",
)
AMD_ENDORSEMENT_NAMES: Final = ("vcek", "vlek", "ask", "ark", "crl")
NVIDIA_ENDORSEMENT_NAMES: Final = ("rims", "ocsp")
ENDORSEMENT_NAMES: Final = (*INTEL_ENDORSEMENT_NAMES, *AMD_ENDORSEMENT_NAMES)


class Scheme(StrEnum):
    """How report data commits to a key; attestd/binding.py has the transcripts."""

    ATTESTD_V1 = "attestd/v1"
    COCOON = "cocoon"
    SPKI_SHA256 = "spki-sha256"
    NONCE_AND_KEY = "nonce-and-key"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteEvidence:
    """A quote as the driver returned it; bytes after the quote are tolerated."""

    tee: IntelTee
    quote: bytes
    event_log: bytes | None = None  # a CCEL, or dstack's JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class RaTlsEvidence:
    """A Cocoon RA-TLS certificate, which carries the quote in an extension."""

    tee: Literal["tdx"] = "tdx"
    certificate: bytes  # DER
    event_log: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SnpEvidence:
    """An SEV-SNP report as the driver returned it, with what the host knows of its certificates."""

    tee: Literal["snp"] = "snp"
    report: bytes  # 1184 bytes, behind which a certificate table may follow
    certificates: bytes | None = None  # that table, or PEM

    @property
    def event_log(self) -> None:
        """There are no runtime registers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TpmQuoteEvidence:
    """A quote by a TPM."""

    message: bytes  # TPMS_ATTEST
    signature: bytes  # RSASSA-PKCS1-v1_5, as long as the modulus
    pcrs: bytes | None = None  # the values of PCR 0 to 23, 32 bytes each


@dataclass(frozen=True, slots=True, kw_only=True)
class HclEvidence:
    """An SEV-SNP report inside of Azure's HCL report, and a quote by the vTPM that it vouches for."""

    tee: Literal["snp"] = "snp"
    hcl_report: bytes
    tpm_quote: TpmQuoteEvidence
    certificates: bytes | None = None

    @property
    def event_log(self) -> None:
        """The log of a vTPM is not read; policies name PCR values."""


IntelEvidence: TypeAlias = QuoteEvidence | RaTlsEvidence
AmdEvidence: TypeAlias = SnpEvidence | HclEvidence
CpuEvidence: TypeAlias = IntelEvidence | AmdEvidence


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuEvidence:
    """What a GPU or an NVSwitch says of itself."""

    arch: Arch
    report: bytes  # SPDM 1.1: GET_MEASUREMENTS and MEASUREMENTS
    certificates: bytes  # PEM, leaf first


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEvidence:
    """The key that the attester wants to be trusted."""

    spki: bytes  # DER SubjectPublicKeyInfo
    proof: bytes | None = None  # signature over the context; a key-agreement key has none
    role: Role | None = None  # with the binding cocoon, which part of Cocoon the image plays


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What an attester sends to have its key registered."""

    challenge: bytes  # 32 bytes
    binding: Scheme
    key: KeyEvidence
    models: tuple[bytes, ...] = ()  # SHA-256 digests, sorted, each once
    policy: str | None = None
    cpu: CpuEvidence
    gpus: tuple[GpuEvidence, ...] = ()  # in the order in which they are bound


@dataclass(frozen=True, slots=True, kw_only=True)
class AppraisalRequest:
    """What is to be appraised without registering anything.

    Where challenge, binding and key are left out, `evidence` is None: a bare quote is appraised and no key is bound.
    """

    cpu: CpuEvidence
    gpus: tuple[GpuEvidence, ...]
    evidence: Evidence | None
    policy: str | None = None  # the name of a registered policy,
    policy_toml: str | None = None  # or a policy of the caller's own; never both
    at: datetime | None = None  # UTC
    endorsements: Mapping[str, bytes] = field(default_factory=dict)  # by name, of ENDORSEMENT_NAMES
    # NVIDIA's, all that there is of each kind; None: what the service has of it.
    rims: tuple[bytes, ...] | None = None  # SWID tags, or what NVIDIA's RIM service answers
    ocsp: tuple[bytes, ...] | None = None  # OCSP answers in DER


def load_evidence_json(raw: bytes) -> Evidence:
    """Decode the JSON form.

    Raises `Malformed`: `json.*`, `base64.malformed`, `evidence.size`, `evidence.kind`, `binding.scheme`,
    `binding.models`.
    """
    return _evidence(Fields(load_json(raw), path="evidence"))


def load_evidence_cbor(raw: bytes) -> Evidence:
    """Decode the CBOR form. Raises as `load_evidence_json` does, with `cbor.malformed` and `cbor.schema`."""
    return _evidence(CborFields(load_cbor(raw), Reason.CBOR_SCHEMA, "evidence"))


def load_appraisal_request_json(raw: bytes) -> AppraisalRequest:
    """Decode the body of `POST /v1/appraisals`: the evidence, or only its `cpu`, with further members.

    They are `at` (RFC 3339), `endorsements` (an object of base64, by the names in `ENDORSEMENT_NAMES`, and of arrays of
    base64, by those in `NVIDIA_ENDORSEMENT_NAMES`) and `policy_toml` (the text of a policy, in place of the name of
    one); each may be left out. Raises as `load_evidence_json` does.
    """
    return _appraisal_request(Fields(load_json(raw), path="evidence"))


def load_appraisal_request_cbor(raw: bytes) -> AppraisalRequest:
    """Decode the CBOR form of the same."""
    return _appraisal_request(CborFields(load_cbor(raw), Reason.CBOR_SCHEMA, "evidence"))


def dump_evidence_json(evidence: Evidence) -> bytes:
    """Encode for `POST /v1/evidence`; `load_evidence_json` returns the same value."""
    key, cpu = evidence.key, evidence.cpu
    body = {
        "challenge": dump_base64url(evidence.challenge),
        "binding": evidence.binding.value,
        "key": {"spki": dump_base64(key.spki), "proof": _dump_optional(key.proof), "role": key.role},
        "models": [dump_digest(model) for model in evidence.models],
        "policy": evidence.policy,
        "cpu": {"tee": cpu.tee, **_dump_carrier(cpu)},
        "gpus": [
            {
                "arch": gpu.arch,
                "report": dump_base64(gpu.report),
                "certificates": dump_base64(gpu.certificates),
            }
            for gpu in evidence.gpus
        ],
    }
    return dumps(body, separators=(",", ":")).encode()


def _dump_carrier(cpu: CpuEvidence) -> dict[str, Json]:
    match cpu:
        case QuoteEvidence():
            return {"quote": dump_base64(cpu.quote), "event_log": _dump_optional(cpu.event_log)}
        case RaTlsEvidence():
            return {"ra_tls_certificate": dump_base64(cpu.certificate), "event_log": _dump_optional(cpu.event_log)}
        case SnpEvidence():
            return {"report": dump_base64(cpu.report), "certificates": _dump_optional(cpu.certificates)}
        case HclEvidence():
            quote = cpu.tpm_quote
            return {
                "hcl_report": dump_base64(cpu.hcl_report),
                "tpm_quote": {
                    "message": dump_base64(quote.message),
                    "signature": dump_base64(quote.signature),
                    "pcrs": _dump_optional(quote.pcrs),
                },
                "certificates": _dump_optional(cpu.certificates),
            }


def _dump_optional(raw: bytes | None) -> str | None:
    return None if raw is None else dump_base64(raw)


_EVIDENCE_MEMBERS: Final = ("challenge", "binding", "key", "models", "policy", "cpu", "gpus")


def _evidence(fields: Fields) -> Evidence:
    fields.only(*_EVIDENCE_MEMBERS)
    return _bound_evidence(fields, _cpu(fields), _gpus(fields))


def _bound_evidence(fields: Fields, cpu: CpuEvidence, gpus: tuple[GpuEvidence, ...]) -> Evidence:
    scheme = _scheme(fields, cpu)
    return Evidence(
        challenge=_challenge(fields),
        binding=scheme,
        key=_key(fields.fields("key"), scheme),
        models=_models(fields),
        policy=_policy(fields),
        cpu=cpu,
        gpus=gpus,
    )


def _appraisal_request(fields: Fields) -> AppraisalRequest:
    fields.only(*_EVIDENCE_MEMBERS, "policy_toml", "at", "endorsements")
    cpu, gpus = _cpu(fields), _gpus(fields)
    # All of the binding or none of it: half a binding is a mistake, not a wish for less.
    bound = any(fields.given(name) for name in ("challenge", "binding", "key")) or bool(_models(fields))
    if fields.given("policy") and fields.given("policy_toml"):
        raise fields.refuse("policy", "either the name of a policy or policy_toml")
    endorsements = fields.fields("endorsements") if fields.given("endorsements") else None
    return AppraisalRequest(
        cpu=cpu,
        gpus=gpus,
        evidence=_bound_evidence(fields, cpu, gpus) if bound else None,
        policy=_policy(fields),
        policy_toml=fields.text("policy_toml", most=MAX_POLICY_SIZE) if fields.given("policy_toml") else None,
        at=fields.time("at") if fields.given("at") else None,
        endorsements={} if endorsements is None else _endorsements(endorsements),
        rims=_documents(endorsements, "rims", MAX_RIMS, MAX_RIM_SIZE),
        ocsp=_documents(endorsements, "ocsp", MAX_OCSP_ANSWERS, MAX_OCSP_ANSWER_SIZE),
    )


def _cpu(fields: Fields) -> CpuEvidence:
    cpu = fields.fields("cpu")
    tee = cpu.text("tee")
    if tee == "snp":
        return _amd(cpu)
    intel = _INTEL.get(tee)
    if intel is None:
        raise Malformed(Reason.EVIDENCE_KIND, found="another TEE", wanted=" or ".join(TEES))
    return _intel(cpu, intel)


def _gpus(fields: Fields) -> tuple[GpuEvidence, ...]:
    return tuple(map(_gpu, fields.array("gpus", most=MAX_GPUS, least=0) if fields.given("gpus") else ()))


def _gpu(gpu: Fields) -> GpuEvidence:
    gpu.only("arch", "report", "certificates")
    arch = _ARCHS.get(gpu.text("arch"))
    if arch is None:
        raise gpu.refuse("arch", " or ".join(_ARCHS))
    return GpuEvidence(
        arch=arch,
        report=_blob(gpu, "report", MAX_GPU_REPORT_SIZE),
        certificates=_blob(gpu, "certificates", MAX_GPU_CERTIFICATES_SIZE),
    )


def _intel(cpu: Fields, tee: IntelTee) -> IntelEvidence:
    if tee == "sgx" and cpu.given("event_log"):
        raise cpu.refuse("event_log", "nothing: an enclave has no runtime registers")
    if "ra_tls_certificate" not in cpu:
        cpu.only("tee", "quote", "event_log")
        return QuoteEvidence(tee=tee, quote=_blob(cpu, "quote", MAX_QUOTE_SIZE), event_log=_event_log(cpu))
    cpu.only("tee", "ra_tls_certificate", "event_log")
    if tee != "tdx":
        raise Malformed(Reason.EVIDENCE_KIND, found=f"an RA-TLS certificate for {tee}", wanted="tdx")
    certificate = _blob(cpu, "ra_tls_certificate", MAX_RA_TLS_CERTIFICATE_SIZE)
    return RaTlsEvidence(certificate=certificate, event_log=_event_log(cpu))


def _amd(cpu: Fields) -> AmdEvidence:
    certificates = _blob(cpu, "certificates", MAX_CERTIFICATES_SIZE) if cpu.given("certificates") else None
    if "hcl_report" not in cpu:
        cpu.only("tee", "report", "certificates")
        return SnpEvidence(report=_blob(cpu, "report", MAX_SNP_REPORT_SIZE), certificates=certificates)
    cpu.only("tee", "hcl_report", "tpm_quote", "certificates")
    return HclEvidence(
        hcl_report=_blob(cpu, "hcl_report", MAX_HCL_REPORT_SIZE),
        tpm_quote=_tpm_quote(cpu.fields("tpm_quote")),
        certificates=certificates,
    )


def _tpm_quote(quote: Fields) -> TpmQuoteEvidence:
    quote.only("message", "signature", "pcrs")
    if quote.given("pcrs") and len(quote.binary("pcrs")) != PCRS_SIZE:
        raise quote.refuse("pcrs", f"{PCRS_SIZE} bytes: PCR 0 to 23")
    return TpmQuoteEvidence(
        message=_blob(quote, "message", MAX_TPM_QUOTE_SIZE),
        signature=_blob(quote, "signature", MAX_TPM_QUOTE_SIZE),
        pcrs=quote.binary("pcrs") if quote.given("pcrs") else None,
    )


def _event_log(cpu: Fields) -> bytes | None:
    return _blob(cpu, "event_log", MAX_EVENT_LOG_SIZE) if cpu.given("event_log") else None


def _blob(fields: Fields, name: str, most: int) -> bytes:
    return _sized(fields, name, fields.binary(name), most)


def _sized(fields: Fields, name: str, raw: bytes, most: int) -> bytes:
    if not raw:
        raise fields.refuse(name, "at least one byte")
    if len(raw) > most:
        raise Malformed(Reason.EVIDENCE_SIZE, found=f"{len(raw)} bytes at {name}", wanted=f"at most {most} bytes")
    return raw


def _scheme(fields: Fields, cpu: CpuEvidence) -> Scheme:
    try:
        scheme = Scheme(fields.text("binding"))
    except ValueError:
        raise Malformed(Reason.BINDING_SCHEME, found="another scheme", wanted=", ".join(Scheme)) from None
    if (scheme is Scheme.COCOON) != isinstance(cpu, RaTlsEvidence):
        raise fields.refuse("cpu", "ra_tls_certificate with the binding cocoon, and quote with any other")
    return scheme


def _challenge(fields: Fields) -> bytes:
    challenge = fields.binary("challenge", url=True)
    if len(challenge) != CHALLENGE_SIZE:
        raise fields.refuse("challenge", f"{CHALLENGE_SIZE} bytes")
    return challenge


def _key(key: Fields, scheme: Scheme) -> KeyEvidence:
    key.only("spki", "proof", "role")
    return KeyEvidence(
        spki=_blob(key, "spki", MAX_SPKI_SIZE),
        proof=_blob(key, "proof", MAX_PROOF_SIZE) if key.given("proof") else None,
        role=_role(key, scheme),
    )


def _role(key: Fields, scheme: Scheme) -> Role | None:
    role = _ROLES.get(key.text("role")) if key.given("role") else None
    if key.given("role") != (scheme is Scheme.COCOON) or (key.given("role") and role is None):
        raise key.refuse("role", f"{' or '.join(_ROLES)} with the binding cocoon, and nothing with any other")
    return role


def _models(fields: Fields) -> tuple[bytes, ...]:
    texts = fields.texts("models", most=MAX_MODELS)
    try:
        digests = [load_digest(text) for text in texts]
    except Malformed as error:
        raise Malformed(Reason.BINDING_MODELS, found=error.found, wanted=error.wanted) from None
    if len(set(digests)) != len(digests):
        raise Malformed(Reason.BINDING_MODELS, found="a digest twice", wanted="each digest once")
    return tuple(sorted(digests))


def _policy(fields: Fields) -> str | None:
    return fields.text("policy", most=MAX_POLICY_NAME) if fields.given("policy") else None


def _endorsements(fields: Fields) -> dict[str, bytes]:
    fields.only(*ENDORSEMENT_NAMES, *NVIDIA_ENDORSEMENT_NAMES)
    return {name: _blob(fields, name, MAX_ENDORSEMENT_SIZE) for name in ENDORSEMENT_NAMES if fields.given(name)}


def _documents(endorsements: Fields | None, name: str, count: int, most: int) -> tuple[bytes, ...] | None:
    if endorsements is None or not endorsements.given(name):
        return None
    return tuple(_sized(endorsements, name, raw, most) for raw in endorsements.binaries(name, most=count))
