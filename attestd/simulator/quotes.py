"""The bytes of a quote around its body: header, signature, attestation key, quoting enclave, certification data.

Source: Intel TDX DCAP Quoting Library API, appendix A; tdx.md, section 3, Layouts. Integers are little-endian.
"""

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final, TypeVar

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from attestd.simulator.keys import point, secret
from attestd.simulator.reports import SGX_QE, TD_QE, Body, SgxReport, TdReport15
from attestd.simulator.tampering import GENUINE, Signing

T = TypeVar("T")

INTEL_QE_VENDOR_ID: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
PCK_CERT_CHAIN: Final = 5
QE_REPORT_CERTIFICATION_DATA: Final = 6

_V3, _V4, _V5 = 3, 4, 5

# Intel's quoting library leaves these behind the signature data of a v4 quote.
_V4_TAIL: Final = bytes(70)
_PCE_SVN: Final = 15


@dataclass(frozen=True, kw_only=True)
class Framing:
    """Everything in a quote but its body. None stands for what belongs there; lengths are then the true ones."""

    version: int | None = None  # 3, 4 or 5, which also says the layout; None: 3 for SGX, 4 for TD 1.0, 5 for TD 1.5
    attestation_key_type: int = 2  # ECDSA P-256
    tee_type: int | None = None
    header_reserved: bytes | None = None  # 4 bytes; in version 3 the SVNs of QE and PCE
    qe_vendor_id: bytes = INTEL_QE_VENDOR_ID
    user_data: bytes = secret("attestd", "user data", 16) + bytes(4)
    body_type: int | None = None  # version 5 only
    body_size: int | None = None
    signature_data_size: int | None = None
    attestation_key: EllipticCurvePrivateKey | None = None  # None: the attester's
    attestation_public_key: bytes | None = None  # x ‖ y; None: of the attestation key
    qe: SgxReport | None = None  # report of the quoting enclave; its report data is computed
    qe_report_data: bytes | None = None  # None: SHA-256(attestation public key ‖ auth data), 32 zero bytes
    auth_data: bytes = bytes(range(32))
    auth_data_size: int | None = None
    outer_type: int = QE_REPORT_CERTIFICATION_DATA  # not in version 3
    outer_size: int | None = None
    cert_type: int = PCK_CERT_CHAIN
    cert_data: bytes | None = None  # None: the attester's PCK chain in PEM and a NUL
    cert_size: int | None = None
    trailing: bytes | None = None  # unauthenticated bytes after the signature data
    signing: Signing = GENUINE  # of header and body, by the attestation key; `after` edits the quote
    qe_signing: Signing = GENUINE  # of the QE report, by the PCK key; `after` edits report ‖ signature


USUAL: Final = Framing()


@dataclass(frozen=True, kw_only=True)
class QuoteKeys:
    """What a platform signs quotes with."""

    attestation_key: EllipticCurvePrivateKey
    pck_key: EllipticCurvePrivateKey
    pck_chain: bytes  # PEM


def encode_quote(body: Body, framing: Framing, keys: QuoteKeys) -> bytes:
    """Return the quote: header, body, length of the signature data, signature data, tail."""
    version = framing.version or _usual_version(body)
    signed = framing.signing.before(_header(version, body, framing) + _body(version, body, framing))
    data = _signature_data(version, body, signed, framing, keys)
    tail = _default(framing.trailing, _V4_TAIL if version == _V4 else b"")
    return framing.signing.after(signed + _sized(framing.signature_data_size, data) + tail)


def _usual_version(body: Body) -> int:
    match body:
        case SgxReport():
            return _V3
        case TdReport15():
            return _V5
        case _:
            return _V4


def _header(version: int, body: Body, framing: Framing) -> bytes:
    svns = _u16(framing.qe.isvsvn if framing.qe else SGX_QE.isvsvn) + _u16(_PCE_SVN)
    return b"".join(
        (
            _u16(version),
            _u16(framing.attestation_key_type),
            _u32(_default(framing.tee_type, body.tee_type)),
            _default(framing.header_reserved, svns if version == _V3 else bytes(4)),
            framing.qe_vendor_id,
            framing.user_data,
        )
    )


def _body(version: int, body: Body, framing: Framing) -> bytes:
    encoded = body.encode()
    if version < _V5:
        return encoded
    return _u16(_default(framing.body_type, body.body_type)) + _u32(_default(framing.body_size, len(encoded))) + encoded


def _signature_data(version: int, body: Body, signed: bytes, framing: Framing, keys: QuoteKeys) -> bytes:
    attestation_key = framing.attestation_key or keys.attestation_key
    public_key = _default(framing.attestation_public_key, point(attestation_key.public_key()))
    qe = _qe_report(body, public_key, framing, keys)
    certification = (
        _u16(_default(framing.auth_data_size, len(framing.auth_data)))
        + framing.auth_data
        + _u16(framing.cert_type)
        + _sized(framing.cert_size, _default(framing.cert_data, keys.pck_chain + b"\0"))
    )
    if version > _V3:
        certified = _u16(framing.outer_type) + _sized(framing.outer_size, qe + certification)
    else:
        certified = qe + certification
    return framing.signing.p256(attestation_key, signed) + public_key + certified


def qe_report_data(public_key: bytes, auth_data: bytes) -> bytes:
    """Return how the quoting enclave vouches for an attestation key."""
    return sha256(public_key + auth_data).digest() + bytes(32)


def _qe_report(body: Body, public_key: bytes, framing: Framing, keys: QuoteKeys) -> bytes:
    qe = framing.qe or (SGX_QE if isinstance(body, SgxReport) else TD_QE)
    report_data = _default(framing.qe_report_data, qe_report_data(public_key, framing.auth_data))
    signing = framing.qe_signing
    report = signing.before(replace(qe, report_data=report_data).encode())
    return signing.after(report + signing.p256(keys.pck_key, report))


def _u16(number: int) -> bytes:
    return number.to_bytes(2, "little")


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _sized(size: int | None, data: bytes) -> bytes:
    return _u32(_default(size, len(data))) + data


def _default(given: T | None, usual: T) -> T:
    return usual if given is None else given
