"""The versioned endorsement key that signs reports: AMD's statement of which chip (VCEK) or cloud (VLEK) this is.

Source: Versioned Chip Endorsement Key (VCEK) Certificate and KDS Interface Specification (AMD 57230), 3; snp.md, 2.2
and 2.3. These certificates have the serial number 0 and no extension but AMD's own, so names and those extensions say
what a certificate is good for.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias

from attestd.claims import ProductLine, TcbVersion, VekClaims
from attestd.codec import load_der_sequence, load_der_unsigned
from attestd.codec.der import INTEGER, OCTET_STRING
from attestd.errors import EndorsementRejected, Malformed, NotAuthentic, Reason
from attestd.signature import P384PublicKey
from attestd.validity import Validity
from attestd.x509 import (
    AMD,
    Certificate,
    CrlReasons,
    PathReasons,
    RevocationList,
    TrustAnchors,
    authenticate_crl,
    authenticate_crl_of_any_time,
    verify_path,
)

_ARC: Final = "1.3.6.1.4.1.3704.1"
_STRUCT_VERSION: Final = f"{_ARC}.1"
_PRODUCT_NAME: Final = f"{_ARC}.2"
_BOOTLOADER: Final = f"{_ARC}.3.1"
_TEE: Final = f"{_ARC}.3.2"
_SNP: Final = f"{_ARC}.3.3"
_SPL_4: Final = f"{_ARC}.3.4"
_RESERVED_SPLS: Final = (f"{_ARC}.3.5", f"{_ARC}.3.6", f"{_ARC}.3.7")
_MICROCODE: Final = f"{_ARC}.3.8"
_FMC: Final = f"{_ARC}.3.9"
_HWID: Final = f"{_ARC}.4"
_CSP_ID: Final = f"{_ARC}.5"

_IA5_STRING: Final = 0x16
# Security patch levels have seven bits, that of the microcode eight.
_MAX_SPL: Final = 127
_MAX_MICROCODE_SPL: Final = 255
_TEXT: Final = re.compile(r"[ -~]{1,128}")
# VCEKs name a stepping of Milan: `Milan-B0`.
_PRODUCT: Final = re.compile(r"(Milan|Genoa|Turin)(?:-[A-Z][0-9])?")

_KINDS: Final[dict[str, Literal["vcek", "vlek"]]] = {"SEV-VCEK": "vcek", "SEV-VLEK": "vlek"}
_ISSUERS: Final = {
    name: line for line in ProductLine for name in (("vcek", f"SEV-{line}"), ("vlek", f"SEV-VLEK-{line}"))
}
_ARKS: Final = {f"ARK-{line}": line for line in ProductLine}
# Returns the value of the extension with an object identifier.
_Extension: TypeAlias = Callable[[str], bytes | None]

_REASONS: Final = PathReasons(
    chain=Reason.SNP_VEK_CHAIN,
    untrusted_root=Reason.SNP_UNTRUSTED_ROOT,
    expired=Reason.SNP_VEK_EXPIRED,
    not_yet_valid=Reason.SNP_VEK_NOT_YET_VALID,
    kind=NotAuthentic,
)
_CRL_REASONS: Final = CrlReasons(
    malformed=Reason.SNP_CRL_MALFORMED,
    issuer=Reason.SNP_CRL_ISSUER,
    signature=Reason.SNP_CRL_SIGNATURE,
    expired=Reason.SNP_CRL_EXPIRED,
    not_yet_valid=Reason.SNP_CRL_NOT_YET_VALID,
)


@dataclass(frozen=True, slots=True)
class Vek:
    """An authenticated VCEK or VLEK: the key, what its certificate says of the platform, and who issued it.

    Immutable and good for every report that it signed, inside of `validity` and of the CRL's verdict.
    """

    claims: VekClaims
    public_key: P384PublicKey
    issuer: Certificate  # the ASK or ASVK
    root: Certificate  # the pinned ARK
    validity: Validity
    digests: tuple[bytes, ...]  # SHA-256 of both certificates as they came

    def require_current(self, at: datetime) -> None:
        """Raise `NotAuthentic` where `at` lies outside of the window of any certificate of the chain."""
        _REASONS.require_current(self.validity, at)


def authenticate_vek(vek: bytes, issuer: bytes, anchors: TrustAnchors, at: datetime) -> Vek:
    """Verify a VCEK or VLEK and the ASK or ASVK that issued it, both in DER, to the pinned ARK of the product line.

    An ARK that came along is of no use: the pinned one is taken.

    Raises `Malformed` (`der.malformed`), else `NotAuthentic`: `snp.vek_…`, `snp.untrusted_root`,
    `snp.product_mismatch`.
    """
    leaf, ask = Certificate(vek), Certificate(issuer)
    root = verify_path((leaf, ask), anchors, at, _REASONS, AMD)
    kind, line = _require_names(leaf, ask, root)
    try:
        key = leaf.p384_public_key
    except Malformed as error:
        raise NotAuthentic(Reason.SNP_VEK_PROFILE, found=error.found, wanted=error.wanted) from None
    return Vek(
        claims=parse_vek_extensions(leaf.extension_bytes, kind, line),
        public_key=key,
        issuer=ask,
        root=root,
        validity=leaf.validity.narrowed(ask.validity).narrowed(root.validity),
        digests=(leaf.fingerprint, ask.fingerprint),
    )


def authenticate_ark_crl(raw: bytes, root: Certificate, at: datetime) -> RevocationList:
    """Verify the CRL of a product line, which its ARK signs. Raises `EndorsementRejected` (`snp.crl_…`)."""
    return authenticate_crl(raw, root, at, _CRL_REASONS, AMD)


def authenticate_ark_crl_of_any_time(raw: bytes, root: Certificate) -> RevocationList:
    """Verify the same, whether it is in force or not. Raises `EndorsementRejected` (`snp.crl_…`)."""
    return authenticate_crl_of_any_time(raw, root, _CRL_REASONS, AMD)


def authenticate_crl_of_any(raw: bytes, anchors: TrustAnchors, at: datetime) -> tuple[Certificate, RevocationList]:
    """Verify the CRL of whichever ARK among the pinned roots has issued it, and return both.

    Raises as `authenticate_ark_crl` does.
    """
    refusal = EndorsementRejected(Reason.SNP_CRL_ISSUER, found="a CRL of no pinned root", wanted="a CRL of an ARK")
    for root in (root for root in anchors.roots if root.common_name in _ARKS):
        try:
            return root, authenticate_ark_crl(raw, root, at)
        except EndorsementRejected as error:
            if error.reason is not Reason.SNP_CRL_ISSUER:
                raise
    raise refusal


def authenticate_vek_issuer(ask: Certificate, anchors: TrustAnchors, at: datetime) -> Certificate:
    """Verify an ASK or ASVK to the pinned ARK of its product line, and return that.

    Raises `NotAuthentic`: `snp.vek_chain`, `snp.vek_…` for its dates, `snp.untrusted_root`.
    """
    root = verify_path((ask,), anchors, at, _REASONS, AMD, ca=True)
    line = _ARKS.get(root.common_name)
    if line is None or line not in (_ISSUERS.get((kind, ask.common_name)) for kind in _KINDS.values()):
        raise NotAuthentic(
            Reason.SNP_VEK_CHAIN,
            found=f"a CA of another name below {root.common_name}",
            wanted="SEV-<product> or SEV-VLEK-<product>, below ARK-<product>",
        )
    return root


def is_vek(certificate: Certificate) -> bool:
    """Tell a VCEK or VLEK, by its name, from those above it. Says nothing of whether it is genuine."""
    return certificate.common_name in _KINDS


def _require_names(
    leaf: Certificate, ask: Certificate, root: Certificate
) -> tuple[Literal["vcek", "vlek"], ProductLine]:
    """Return kind and product line. Each line has an ASK for VCEKs and an ASVK for VLEKs below one ARK."""
    kind = _KINDS.get(leaf.common_name)
    if kind is None:
        raise NotAuthentic(Reason.SNP_VEK_PROFILE, found="another common name", wanted=" or ".join(_KINDS))
    line = _ISSUERS.get((kind, ask.common_name))
    if line is None or root.common_name != f"ARK-{line}":
        raise NotAuthentic(
            Reason.SNP_VEK_CHAIN,
            found="issuers of other common names",
            wanted="SEV-<product> for a VCEK, SEV-VLEK-<product> for a VLEK, below ARK-<product>",
        )
    return kind, line


def parse_vek_extensions(extension: _Extension, kind: Literal["vcek", "vlek"], line: ProductLine) -> VekClaims:
    """Read what AMD's extensions say.

    All that belong to the kind and the line must be there, and none of those that do not (snp.md, 2.2).

    Raises `NotAuthentic`: `snp.vek_extension`, `snp.product_mismatch`.
    """
    try:
        return _parse_extensions(extension, kind, line)
    except Malformed as error:
        raise NotAuthentic(Reason.SNP_VEK_EXTENSION, found=error.found, wanted=error.wanted) from None


def _parse_extensions(extension: _Extension, kind: Literal["vcek", "vlek"], line: ProductLine) -> VekClaims:
    is_turin, is_vcek = line is ProductLine.TURIN, kind == "vcek"
    for oid in (_SPL_4 if is_turin else _FMC, _CSP_ID if is_vcek else _HWID):
        if extension(oid) is not None:
            raise _refusal(f"the extension {oid}", f"none in a {kind.upper()} of {line}")
    struct_version = _unsigned(extension, _STRUCT_VERSION, 1)
    if struct_version != is_turin:
        raise _refusal(f"struct version {struct_version}", f"version {is_turin:d} for {line}")
    # What a level in these would mean is not known.
    for oid in _RESERVED_SPLS if is_turin else (_SPL_4, *_RESERVED_SPLS):
        _unsigned(extension, oid, 0)
    return VekClaims(
        kind=kind,
        product_line=line,
        product_name=_product_name(extension, line),
        tcb=TcbVersion(
            fmc=_unsigned(extension, _FMC, _MAX_SPL) if is_turin else None,
            bootloader=_unsigned(extension, _BOOTLOADER, _MAX_SPL),
            tee=_unsigned(extension, _TEE, _MAX_SPL),
            snp=_unsigned(extension, _SNP, _MAX_SPL),
            microcode=_unsigned(extension, _MICROCODE, _MAX_MICROCODE_SPL),
        ),
        hwid=_hwid(extension, 8 if is_turin else 64) if is_vcek else None,
        csp_id=None if is_vcek else _text(extension, _CSP_ID),
    )


def _product_name(extension: _Extension, line: ProductLine) -> str:
    name = _text(extension, _PRODUCT_NAME)
    product = _PRODUCT.fullmatch(name)
    if product is None:
        raise _refusal("another product name", "Milan, Genoa or Turin, with or without a stepping")
    if product[1] != line:
        raise NotAuthentic(Reason.SNP_PRODUCT_MISMATCH, found=f"product {name}", wanted=f"{line}, as the issuer says")
    return name


def _hwid(extension: _Extension, size: int) -> bytes:
    """Return the HWID, which stands raw; older certificates have it as an OCTET STRING.

    The length tells which: the first octets of a raw one may look like a tag.
    """
    value = _value(extension, _HWID)
    if len(value) == size:
        return value
    hwid = _content(value, _HWID, OCTET_STRING)
    if len(hwid) != size:
        raise _refusal(f"a HWID of {len(hwid)} bytes", f"{size} bytes")
    return hwid


def _text(extension: _Extension, oid: str) -> str:
    text = _content(_value(extension, oid), oid, _IA5_STRING).decode("ascii", "replace")
    if not _TEXT.fullmatch(text):
        raise _refusal(f"{len(text)} characters at {oid}", "1 to 128 printable ones")
    return text


def _unsigned(extension: _Extension, oid: str, most: int) -> int:
    return load_der_unsigned(_content(_value(extension, oid), oid, INTEGER), Reason.SNP_VEK_EXTENSION, most=most)


def _value(extension: _Extension, oid: str) -> bytes:
    value = extension(oid)
    if value is None:
        raise _refusal(f"no extension {oid}", "all that a VCEK or VLEK has")
    return value


def _content(value: bytes, oid: str, wanted: int) -> bytes:
    match list(load_der_sequence(value, Reason.SNP_VEK_EXTENSION)):
        case [element] if element.tag == wanted:
            return element.content
    raise _refusal(f"another structure at {oid}", f"one element with tag {wanted:#04x}")


def _refusal(found: str, wanted: str) -> Malformed:
    return Malformed(Reason.SNP_VEK_EXTENSION, found=found, wanted=wanted)
