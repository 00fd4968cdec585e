"""The PCK certificate chain of a quote: Intel's statement of which platform this is.

Source: Intel SGX PCK Certificate and CRL Profile Specification, 1.3.5 (the SGX extension); tdx.md, step 2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

from attestd.claims import PckCa, PckClaims
from attestd.codec import DerElement, dump_oid, load_der_sequence, load_der_unsigned, load_pem
from attestd.codec.der import BOOLEAN, ENUMERATED, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE
from attestd.errors import Malformed, NotAuthentic, Reason
from attestd.signature import PublicKey
from attestd.validity import Validity
from attestd.x509 import INTEL, Certificate, PathReasons, TrustAnchors, verify_path

SGX_EXTENSION_OID: Final = "1.2.840.113741.1.13.1"
_OID: Final = dump_oid(SGX_EXTENSION_OID)

_PPID: Final = _OID + b"\x01"
_TCB: Final = _OID + b"\x02"
_PCE_ID: Final = _OID + b"\x03"
_FMSPC: Final = _OID + b"\x04"
_SGX_TYPE: Final = _OID + b"\x05"
_PLATFORM_INSTANCE_ID: Final = _OID + b"\x06"
_CONFIGURATION: Final = _OID + b"\x07"
_COMPONENTS: Final = tuple(_TCB + bytes((index,)) for index in range(1, 17))
_PCE_SVN: Final = _TCB + b"\x11"
_CPU_SVN: Final = _TCB + b"\x12"
_SGX_TYPES: Final = ("Standard", "Scalable", "ScalableWithIntegrity")

_CA_NAMES: Final = {"SGX PCK Processor CA": PckCa.PROCESSOR, "SGX PCK Platform CA": PckCa.PLATFORM}

_REASONS: Final = PathReasons(
    chain=Reason.TDX_PCK_CHAIN,
    untrusted_root=Reason.TDX_UNTRUSTED_ROOT,
    expired=Reason.TDX_PCK_EXPIRED,
    not_yet_valid=Reason.TDX_PCK_NOT_YET_VALID,
    kind=NotAuthentic,
)

# Elements of the extension by their object identifier.
_Elements: TypeAlias = Mapping[bytes, DerElement]


@dataclass(frozen=True, slots=True)
class PckChain:
    """An authenticated PCK chain: a platform, the key that speaks for it, and who issued it.

    Immutable and good for every quote that carries the same chain, inside of `validity` and of the CRLs' verdict.
    """

    claims: PckClaims
    public_key: PublicKey
    issuer: Certificate
    root: Certificate
    validity: Validity

    def require_current(self, at: datetime) -> None:
        """Raise `NotAuthentic` where `at` lies outside of the window of any certificate of the chain."""
        _REASONS.require_current(self.validity, at)

    def vouches_for(self, ders: Sequence[bytes], root: Certificate, at: datetime) -> bool:
        """Whether `ders` is this very issuer, with or without its root, which is `root`, and holds at the time `at`."""
        return (
            tuple(ders) in ((self.issuer.der,), (self.issuer.der, root.der))
            and self.root == root
            and self.issuer.issuer == root.subject
            and self.validity.not_before <= at <= self.validity.not_after
        )


def authenticate_pck_chain(pem: bytes, anchors: TrustAnchors, at: datetime) -> PckChain:
    """Verify leaf, intermediate and, if it is there, root, in this order, to a pinned root.

    Raises `Malformed` where PEM or DER are broken, else `NotAuthentic`: `tdx.pck_…` or `tdx.untrusted_root`.
    """
    chain = anchors.parse(load_pem(pem))
    if len(chain) not in (2, 3):
        raise NotAuthentic(
            Reason.TDX_PCK_CHAIN,
            found=f"{len(chain)} certificates",
            wanted="leaf, intermediate and root, in this order",
        )
    root = verify_path(chain, anchors, at, _REASONS, INTEL)
    leaf, issuer = chain[:2]
    pck_ca = _require_names(leaf, issuer)
    validity = leaf.validity.narrowed(issuer.validity).narrowed(root.validity)
    try:
        claims, key = _parse_extension(leaf, pck_ca), leaf.p256_public_key
    except Malformed as error:
        raise NotAuthentic(Reason.TDX_PCK_EXTENSION, found=error.found, wanted=error.wanted) from None
    return PckChain(claims, key, issuer, root, validity)


def _require_names(leaf: Certificate, issuer: Certificate) -> PckCa:
    """Return which CA issued the leaf; the names say the role, since all of Intel's SGX certificates share a root."""
    pck_ca = pck_ca_of(issuer)
    if pck_ca is not None and "SGX PCK Certificate" in leaf.common_name:
        return pck_ca
    raise NotAuthentic(
        Reason.TDX_PCK_CHAIN,
        found="other common names",
        wanted="an SGX PCK Certificate issued by the SGX PCK Processor CA or Platform CA",
    )


def pck_ca_of(certificate: Certificate) -> PckCa | None:
    """Return which PCK CA a certificate names itself, or None where it is neither."""
    return next((ca for name, ca in _CA_NAMES.items() if name in certificate.common_name), None)


def _parse_extension(leaf: Certificate, pck_ca: PckCa) -> PckClaims:
    raw = leaf.extension_bytes(SGX_EXTENSION_OID)
    if raw is None:
        raise _refusal("no SGX extension", "the extension 1.2.840.113741.1.13.1")
    elements = _elements(_only(raw, SEQUENCE))
    tcb = _elements(_content(elements, _TCB, SEQUENCE))
    if len(tcb) != len(_COMPONENTS) + 2:
        raise _refusal(f"{len(tcb)} TCB elements", "16 component SVNs, PCESVN and CPUSVN")
    configuration = _elements(_content(elements, _CONFIGURATION, SEQUENCE)) if _CONFIGURATION in elements else {}
    return PckClaims(
        fmspc=_octets(elements, _FMSPC, 6),
        pce_id=_octets(elements, _PCE_ID, 2),
        pce_svn=_unsigned(tcb, _PCE_SVN, 0xFFFF),
        cpu_svn=_octets(tcb, _CPU_SVN, 16),
        tcb_components=bytes(_unsigned(tcb, oid, 0xFF) for oid in _COMPONENTS),
        ppid=_octets(elements, _PPID, 16),
        sgx_type=_SGX_TYPES[_unsigned(elements, _SGX_TYPE, len(_SGX_TYPES) - 1, ENUMERATED)],
        platform_instance_id=(
            _octets(elements, _PLATFORM_INSTANCE_ID, 16) if _PLATFORM_INSTANCE_ID in elements else None
        ),
        dynamic_platform=_boolean(configuration, 1),
        cached_keys=_boolean(configuration, 2),
        smt_enabled=_boolean(configuration, 3),
        pck_ca=pck_ca,
        pck_serial_number=leaf.serial_number,
    )


def _elements(content: bytes) -> _Elements:
    """Read SEQUENCE OF SEQUENCE { OID, value }. Unknown identifiers are kept: Intel adds some, and they are signed."""
    elements: dict[bytes, DerElement] = {}
    for pair in load_der_sequence(content, Reason.TDX_PCK_EXTENSION):
        parts = load_der_sequence(pair.content, Reason.TDX_PCK_EXTENSION)
        if pair.tag != SEQUENCE or len(parts) != 2 or parts[0].tag != OBJECT_IDENTIFIER:  # noqa: PLR2004 - OID, value
            raise _refusal("an element of another form", "SEQUENCE { OID, value }")
        oid, value = parts
        if oid.content in elements:
            raise _refusal("an element twice", "each OID once")
        elements[oid.content] = value
    return elements


def _only(raw: bytes, wanted: int) -> bytes:
    match load_der_sequence(raw, Reason.TDX_PCK_EXTENSION):
        case [element] if element.tag == wanted:
            return element.content
    raise _refusal("another structure", f"one element with tag {wanted:#04x}")


def _content(elements: _Elements, oid: bytes, wanted: int, size: int | None = None) -> bytes:
    element = elements.get(oid)
    if element is None or element.tag != wanted or (size is not None and len(element.content) != size):
        found = f"tag {element.tag:#04x} with {len(element.content)} octets" if element else "nothing"
        name = SGX_EXTENSION_OID + "".join(f".{arc}" for arc in oid[len(_OID) :])
        raise _refusal(f"{found} at {name}", f"tag {wanted:#04x}" + (f" with {size} octets" if size else ""))
    return element.content


def _octets(elements: _Elements, oid: bytes, size: int) -> bytes:
    return _content(elements, oid, OCTET_STRING, size)


def _unsigned(elements: _Elements, oid: bytes, most: int, tag: int = INTEGER) -> int:
    return load_der_unsigned(_content(elements, oid, tag), Reason.TDX_PCK_EXTENSION, most=most)


def _boolean(configuration: _Elements, arc: int) -> bool | None:
    oid = _CONFIGURATION + bytes((arc,))
    if oid not in configuration:
        return None
    content = _content(configuration, oid, BOOLEAN, 1)
    if content not in (b"\x00", b"\xff"):
        raise _refusal("a BOOLEAN that is neither 00 nor ff", "DER")
    return content == b"\xff"


def _refusal(found: str, wanted: str) -> Malformed:
    return Malformed(Reason.TDX_PCK_EXTENSION, found=found, wanted=wanted)
