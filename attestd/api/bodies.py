"""The shapes of requests, as the OpenAPI document shows them.

They are parsed by the models here; evidence by `attestd.evidence`, which is stricter than a schema can say.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, StringConstraints

from attestd.api.schemas import Base64, Challenge32, Digest, Hex32, Slug, Time
from attestd.claims import ProductLine
from attestd.evidence import MAX_GPUS, MAX_OCSP_ANSWERS, MAX_RIMS, Arch, IntelTee

# 768 bytes have no padding.
_B64_PCRS = r"^[A-Za-z0-9+/]{1024}$"
_PRODUCT_LINE = rf"^(?:[0-9a-f]{{12}}|{'|'.join(line.lower() for line in ProductLine)})$"

Pcrs = Annotated[str, StringConstraints(pattern=_B64_PCRS)]
# One line of text for people: no control characters.
Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f-\x9f]+$", min_length=1, max_length=200)]
Days = Annotated[int, Field(ge=1, le=1825)]
# Each once; in any order.
Models = Annotated[list[Digest], Field(max_length=64, json_schema_extra={"uniqueItems": True})]


class Body(BaseModel):
    """A request: unknown members and other types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class CosignatureBody(Body):
    """A candidate that is to be signed.

    `checkpoint` is its bag of cells, `note` the log's, `signature` that of the registry's own verifier over the
    candidate.
    """

    checkpoint: Base64
    note: Annotated[str, StringConstraints(min_length=1, max_length=32 * 1024)]
    signature: Base64


class _Key(Body):
    spki: Base64
    proof: Base64 | None = None


class EnclaveKey(_Key):
    """The key that the attester wants to be trusted."""

    role: None = None


class CocoonKey(_Key):
    """The same, with the part of Cocoon that the image plays."""

    role: Literal["worker", "proxy"]


class QuoteCpu(Body):
    """A quote as the driver returned it."""

    tee: IntelTee
    quote: Base64
    event_log: Base64 | None = None


class RaTlsCpu(Body):
    """A Cocoon RA-TLS certificate, DER."""

    tee: Literal["tdx"]
    ra_tls_certificate: Base64
    event_log: Base64 | None = None


class SnpCpu(Body):
    """An SEV-SNP report as the driver returned it, with what the host knows of its certificates.

    `certificates` is the table of an extended report, which may also follow the report itself, or the VCEK or VLEK and
    the ASK or ASVK, in this order, in PEM. What is left out is looked for among the service's own.
    """

    tee: Literal["snp"]
    report: Base64
    certificates: Base64 | None = None


class TpmQuote(Body):
    """A quote over PCR 0 to 23 of the SHA-256 bank: TPMS_ATTEST, the bare signature, and the values of the PCRs.

    Its extraData (the qualifying data of TPM2_Quote) is SHA-256 of the 64 bytes of report data that the binding has.
    """

    message: Base64
    signature: Base64
    pcrs: Pcrs | None = None


class HclCpu(Body):
    """SEV-SNP on Azure: NV index 0x01400001, which has the report in it, and a quote by the key at 0x81000003."""

    tee: Literal["snp"]
    hcl_report: Base64
    tpm_quote: TpmQuote
    certificates: Base64 | None = None


class Gpu(Body):
    """A GPU or an NVSwitch: SPDM 1.1 GET_MEASUREMENTS and MEASUREMENTS, and its certificates in PEM, leaf first.

    All of them are asked with one nonce. It is SHA-256 of `gpu-nonce` and the context that the key signs, as
    attestd/binding/transcript.py has it; with another binding than attestd/v1 the challenge itself is taken, too.
    """

    arch: Arch
    report: Base64
    certificates: Base64


# In the order in which the report data commits to them.
Gpus = Annotated[list[Gpu], Field(max_length=MAX_GPUS)]


class _Evidence(Body):
    challenge: Challenge32
    models: Models = []
    policy: Slug | None = None
    gpus: Gpus = []


class DirectEvidence(_Evidence):
    """A quote or report with a key that its report data commits to."""

    binding: Literal["attestd/v1", "spki-sha256", "nonce-and-key"]
    key: EnclaveKey
    cpu: QuoteCpu | SnpCpu | HclCpu


class CocoonEvidence(_Evidence):
    """A Cocoon RA-TLS certificate with its key."""

    binding: Literal["cocoon"]
    key: CocoonKey
    cpu: RaTlsCpu


class EvidenceBody(RootModel[DirectEvidence | CocoonEvidence]):
    """Evidence, as JSON; in CBOR the same map with byte strings in place of base64."""


class NvidiaEndorsements(Body):
    """NVIDIA's RIMs, as SWID tags or as its RIM service answers, and OCSP answers in DER, each in base64.

    A list is all that there is: with `rims` none of the service's RIMs is used, with `ocsp` none of its answers.
    """

    rims: Annotated[list[Base64], Field(max_length=MAX_RIMS)] | None = None
    ocsp: Annotated[list[Base64], Field(max_length=MAX_OCSP_ANSWERS)] | None = None


class IntelEndorsements(NvidiaEndorsements):
    """Intel's collateral, each document in base64, all seven together. NVIDIA's may stand beside it."""

    tcb_info: Base64
    tcb_info_issuer_chain: Base64
    qe_identity: Base64
    qe_identity_issuer_chain: Base64
    root_ca_crl: Base64
    pck_crl: Base64
    pck_crl_issuer_chain: Base64


class AmdEndorsements(NvidiaEndorsements):
    """AMD's certificates, DER or PEM in base64, and the CRL of the ARK in DER; each goes before what the service has.

    NVIDIA's may stand beside them, or alone.

    Either a VCEK or a VLEK; `ask` may be an ASVK. An `ark` that is not the pinned one is refused.
    """

    vcek: Base64 | None = None
    vlek: Base64 | None = None
    ask: Base64 | None = None
    ark: Base64 | None = None
    crl: Base64 | None = None


class AppraisalBody(Body):
    """Evidence, or its `cpu` alone, to be judged without being registered."""

    cpu: QuoteCpu | RaTlsCpu | SnpCpu | HclCpu
    challenge: Challenge32 | None = None
    binding: Literal["attestd/v1", "spki-sha256", "nonce-and-key", "cocoon"] | None = None
    key: EnclaveKey | CocoonKey | None = None
    models: Models = []
    gpus: Gpus = []
    policy: Slug | None = None
    policy_toml: Annotated[str, StringConstraints(min_length=1, max_length=65536)] | None = None
    at: Time | None = None
    endorsements: IntelEndorsements | AmdEndorsements | None = None


class NewModel(Body):
    """Approval of a model."""

    name: Line
    expected_version: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None


class NewImage(Body):
    """Approval of a measured image, in Cocoon's form of the digest."""

    name: Line
    roles: Annotated[list[Literal["worker", "proxy"]], Field(min_length=1, max_length=2)]
    expected_version: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None


class NewProvider(Body):
    """Registration of a provider."""

    id: Slug
    name: Line


class NewProviderApiKey(Body):
    """An API key for one provider."""

    label: Line
    lifetime_days: Days = 365


class NewApiKey(NewProviderApiKey):
    """An API key for an auditor or an administrator."""

    role: Literal["auditor", "admin"]


class Rotation(Body):
    """Replacement of an API key; the old one goes on for `overlap_seconds`."""

    overlap_seconds: Annotated[int, Field(ge=0, le=30 * 86400)] = 0
    lifetime_days: Days = 365


class KeyRevocation(Body):
    """Revocation of one key, or of every key of one machine, GPU or NVSwitch.

    `value` is what results show: the `platform` of a machine, or the `device_id` of one of its `gpus`.
    """

    kind: Literal["key", "platform"]
    value: Hex32
    reason: Line


class DigestRevocation(Body):
    """Revocation of every key that rests on an image or a model."""

    kind: Literal["image", "model"]
    value: Digest
    reason: Line


class ProviderRevocation(Body):
    """Revocation of every key of a provider."""

    kind: Literal["provider"]
    value: Slug
    reason: Line


class ProductLineRevocation(Body):
    """Revocation of every key of a product line: Intel's by FMSPC in hex, AMD's by name in lower case."""

    kind: Literal["product_line"]
    value: Annotated[str, StringConstraints(pattern=_PRODUCT_LINE)]
    reason: Line


class NewRevocation(
    RootModel[
        Annotated[
            KeyRevocation | DigestRevocation | ProviderRevocation | ProductLineRevocation, Field(discriminator="kind")
        ]
    ]
):
    """Revocation of whatever keys rest on; it takes effect at once."""
