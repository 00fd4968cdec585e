"""Intel quotes, versions 3, 4 and 5: a pure parser. Nothing here says that a byte of it is true.

Source: Intel TDX DCAP Quoting Library API, appendix A (quote layouts); tdx.md, section 3, Layouts. Integers are
little-endian. What is read is kept as it stood, and `signed` is the very slice that the attestation key signed.
"""

from hashlib import sha256
from struct import Struct
from typing import Final, NamedTuple, TypeAlias

from attestd.claims import TdExtension, image_digest
from attestd.codec import Reader
from attestd.errors import Malformed, Reason
from attestd.evidence import IntelTee

# Genuine quotes have at most 8,000 bytes (a cloud's fixed buffer); the quoting library caps them at 64 KiB.
MAX_QUOTE_SIZE: Final = 64 * 1024

INTEL_QE_VENDOR_ID: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
ECDSA_P256: Final = 2
TEE_SGX: Final = 0x00
TEE_TDX: Final = 0x81
PCK_CERT_CHAIN: Final = 5
QE_REPORT_CERTIFICATION_DATA: Final = 6

_HEADER: Final = Struct("<HHI4s16s20s")
_SGX_REPORT: Final = Struct("<16s4s28x16s32s32x32s96xHH60x64s")
_TD_REPORT_10: Final = Struct("<16s48s48s8s8s8s48s48s48s48s48s48s48s48s64s")
_TD_REPORT_15: Final = Struct(_TD_REPORT_10.format + "16s48s")
_TD_REPORT_15_EX: Final = Struct(_TD_REPORT_15.format + "1s32s48s48s8s16s16s12s48s8s")
# Quote signature, attestation key, QE report, its signature, size of the authentication data …
_SIGNATURE_DATA_3: Final = Struct("<64s64s384s64sH")
# … and since version 4, before the QE report, type and size of the certification data that wraps the rest.
_SIGNATURE_DATA_4: Final = Struct("<64s64sHI384s64sH")
_WRAPPED_AT: Final = 134
_CERTIFICATION_DATA_HEAD: Final = Struct("<HI")


class SgxReport(NamedTuple):
    """An SGX report body, 384 bytes: of an application's enclave, or of the quoting enclave."""

    cpusvn: bytes
    miscselect: bytes
    attributes: bytes
    mrenclave: bytes
    mrsigner: bytes
    isvprodid: int
    isvsvn: int
    report_data: bytes

    @property
    def image_digest(self) -> bytes:
        """What identifies the image, in Cocoon's form."""
        return image_digest(self.mrenclave)


class TdReport(NamedTuple):
    """A TD report body: 584 bytes (TD 1.0), 648 (TD 1.5) or 885 (TD 1.5 Ex)."""

    tee_tcb_svn: bytes
    mrseam: bytes
    mrsignerseam: bytes
    seamattributes: bytes
    td_attributes: bytes
    xfam: bytes
    mrtd: bytes
    mrconfigid: bytes
    mrowner: bytes
    mrownerconfig: bytes
    rtmr0: bytes
    rtmr1: bytes
    rtmr2: bytes
    rtmr3: bytes
    report_data: bytes
    tee_tcb_svn2: bytes | None = None
    mrservicetd: bytes | None = None
    extension: TdExtension | None = None

    @property
    def image_digest(self) -> bytes:
        """What identifies the image, in Cocoon's form."""
        boot = (self.mrtd, self.mrconfigid, self.mrowner, self.mrownerconfig)
        return image_digest(*boot, self.rtmr0, self.rtmr1, self.rtmr2, self.rtmr3)


Body: TypeAlias = SgxReport | TdReport


class BodyType(NamedTuple):
    """One row of the table of bodies: which TEE it belongs to and what it consists of."""

    tee_type: int
    layout: Struct


# Quote version 5, body type: SGX, TD 1.0, TD 1.5, TD 1.5 Ex.
BODY_TYPES: Final = {
    1: BodyType(TEE_SGX, _SGX_REPORT),
    2: BodyType(TEE_TDX, _TD_REPORT_10),
    3: BodyType(TEE_TDX, _TD_REPORT_15),
    4: BodyType(TEE_TDX, _TD_REPORT_15_EX),
}
# Versions 3 and 4 name no body type: it follows from the TEE.
_IMPLIED_BODY_TYPE: Final = {TEE_SGX: 1, TEE_TDX: 2}
_TEES: Final[dict[int, IntelTee]] = {TEE_SGX: "sgx", TEE_TDX: "tdx"}


class QeCertification(NamedTuple):
    """The quoting enclave's part of the signature data: who vouches for the attestation key."""

    report: bytes  # 384 bytes, as signed
    signature: bytes  # r ‖ s over them by the PCK
    authentication_data: bytes
    certification_data_type: int
    certification_data: bytes


class Quote(NamedTuple):
    """A quote that parses. Not evidence of anything yet."""

    version: int
    tee: IntelTee
    user_data: bytes  # 20 bytes
    body: Body
    signed: bytes  # header and body, with the body descriptor of version 5
    signature: bytes  # r ‖ s over `signed`
    attestation_key: bytes  # x ‖ y
    qe: QeCertification
    trailing: bytes  # unauthenticated bytes behind the quote

    @property
    def image_digest(self) -> bytes:
        """What identifies the image, in Cocoon's form."""
        return self.body.image_digest

    @property
    def evidence_id(self) -> bytes:
        """SHA-256, domain-separated, over the signed bytes alone: padding and (r, n - s) do not change it."""
        return sha256(b"attestd/evidence-id/v1/intel-quote\0" + self.signed).digest()

    @property
    def pck_chain(self) -> bytes:
        """The PCK certificate chain in PEM.

        Raises `Malformed` (`tdx.certification_data`): types 1 to 4 refer to a chain that is not in the quote.
        """
        if self.qe.certification_data_type == PCK_CERT_CHAIN:
            return self.qe.certification_data
        raise Malformed(
            Reason.TDX_CERTIFICATION_DATA,
            found=f"certification data type {self.qe.certification_data_type}",
            wanted=f"type {PCK_CERT_CHAIN}, the PCK certificate chain",
        )


def parse_quote(raw: bytes) -> Quote:
    """Parse a quote; bytes behind its signature data are kept apart, since genuine quotes carry padding there.

    Raises `Malformed` with a `tdx.` or `evidence.size` reason.
    """
    if len(raw) > MAX_QUOTE_SIZE:
        raise Malformed(Reason.EVIDENCE_SIZE, found=f"{len(raw)} bytes", wanted=f"at most {MAX_QUOTE_SIZE} bytes")
    reader = Reader(raw, Reason.TDX_QUOTE_TRUNCATED)
    version, tee_type, user_data = _parse_header(reader)
    body = _parse_body(reader, version, tee_type)
    signed = raw[: reader.offset]
    signature_data = reader.take(reader.u32())
    signature, attestation_key, qe = _parse_signature_data(signature_data, version)
    trailing = raw[reader.offset :]
    return Quote(version, _TEES[tee_type], user_data, body, signed, signature, attestation_key, qe, trailing)


def _parse_header(reader: Reader) -> tuple[int, int, bytes]:
    version, key_type, tee_type, _, vendor_id, user_data = reader.unpack(_HEADER)
    if version not in (3, 4, 5):
        raise Malformed(Reason.TDX_QUOTE_VERSION, found=f"version {version}", wanted="version 3, 4 or 5")
    if key_type != ECDSA_P256:
        raise Malformed(
            Reason.TDX_ATTESTATION_KEY_TYPE, found=f"type {key_type}", wanted=f"type {ECDSA_P256}, ECDSA P-256"
        )
    if tee_type not in _TEES or (version == 3 and tee_type == TEE_TDX):  # noqa: PLR2004 - TDX came with version 4
        raise Malformed(
            Reason.TDX_TEE_TYPE,
            found=f"TEE type {tee_type:#x} in version {version}",
            wanted="0x0 (SGX) or, from version 4 on, 0x81 (TDX)",
        )
    if vendor_id != INTEL_QE_VENDOR_ID:
        raise Malformed(Reason.TDX_QE_VENDOR_ID, found=vendor_id.hex(), wanted=INTEL_QE_VENDOR_ID.hex())
    return version, tee_type, user_data


def _parse_body(reader: Reader, version: int, tee_type: int) -> Body:
    kind = _parse_body_descriptor(reader, tee_type) if version == 5 else _IMPLIED_BODY_TYPE[tee_type]  # noqa: PLR2004
    members = reader.unpack(BODY_TYPES[kind].layout)
    if kind == 1:
        return SgxReport(*members)
    if kind == 4:  # noqa: PLR2004 - the body types are Intel's numbers
        return TdReport._make((*members[:17], TdExtension(*members[17:])))
    return TdReport(*members)


def _parse_body_descriptor(reader: Reader, tee_type: int) -> int:
    kind, size = reader.u16(), reader.u32()
    body_type = BODY_TYPES.get(kind)
    if body_type and body_type.tee_type == tee_type and body_type.layout.size == size:
        return kind
    raise Malformed(
        Reason.TDX_BODY_DESCRIPTOR,
        found=f"body type {kind} of {size} bytes for TEE type {tee_type:#x}",
        wanted="a known body type of its own size, which fits the TEE",
    )


def parse_sgx_report(raw: bytes) -> SgxReport:
    """Parse 384 bytes as an SGX report body."""
    return SgxReport(*_SGX_REPORT.unpack(raw))


def _parse_signature_data(raw: bytes, version: int) -> tuple[bytes, bytes, QeCertification]:
    head = _SIGNATURE_DATA_3 if version == 3 else _SIGNATURE_DATA_4  # noqa: PLR2004 - the layout changed once
    reader = Reader(raw, Reason.TDX_SIGNATURE_DATA)
    signature, attestation_key, *wrap, report, qe_signature, size = reader.unpack(head)
    if wrap:
        _require_wrap(len(raw) - _WRAPPED_AT, *wrap)
    authentication_data = reader.take(size)
    kind, size = reader.unpack(_CERTIFICATION_DATA_HEAD)
    certification_data = reader.take(size)
    reader.finish()
    return (
        signature,
        attestation_key,
        QeCertification(report, qe_signature, authentication_data, kind, certification_data),
    )


def _require_wrap(rest: int, kind: int, size: int) -> None:
    """Since version 4 the quoting enclave's part is certification data of its own, which fills what is left."""
    if kind != QE_REPORT_CERTIFICATION_DATA:
        raise Malformed(
            Reason.TDX_CERTIFICATION_DATA,
            found=f"outer certification data type {kind}",
            wanted=f"type {QE_REPORT_CERTIFICATION_DATA}, QE report certification data",
        )
    if size != rest:
        raise Malformed(Reason.TDX_SIGNATURE_DATA, found=f"{size} bytes of it declared", wanted=f"{rest} bytes")
