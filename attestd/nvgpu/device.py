"""The certificates of a GPU or NVSwitch: which device it is, and the key that its firmware signs reports with.

Source: nvidia.md, 4.3 and 4.4; TCG DICE Attestation Architecture 1.1, 6.1.1 (DiceTcbInfo); DMTF DSP0274 (SPDM), device
information in the subject alternative name. Five certificates: of the attestation key, of the boot ROM (BROM), two of
intermediate CAs, and the root. The BROM's key stays with a device; all that is below it changes with the firmware.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from hashlib import sha256
from typing import Final

from attestd.claims import GpuArch
from attestd.codec import DerElement, dump_oid, load_der_sequence
from attestd.codec.der import INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE
from attestd.errors import Malformed, NotAuthentic, Reason
from attestd.signature import P384PublicKey
from attestd.validity import Validity
from attestd.x509 import NVIDIA, Certificate, PathReasons, TrustAnchors, verify_path

CHAIN_LENGTH: Final = 5

_ROOT: Final = "NVIDIA Device Identity CA"
# `GH100 A01 GSP FMC LF` below `GH100 A01 GSP BROM`: chip, stepping, and the processor that attests.
_BROM: Final = re.compile(r"((GH100|GB100|LS_10) [A-Z][0-9]{2} (?:GSP|FSP)) BROM")
_ARCHS: Final = {"GH100": GpuArch.HOPPER, "GB100": GpuArch.BLACKWELL, "LS_10": GpuArch.LS10}

_PDI_SIZE: Final = 8
_SPKI_HEAD: Final = b"\x30\x76"  # tag and length of a SubjectPublicKeyInfo on P-384, which a CA's key is
_MAX_SERIAL_SIZE: Final = 20
_FWID_SIZE: Final = 48

_SUBJECT_ALTERNATIVE_NAME: Final = "2.5.29.17"
_SPDM_DEVICE_INFO: Final = dump_oid("1.3.6.1.4.1.412.274.1")
_TCG_DICE_FWID: Final = "2.23.133.5.4.1"
_DICE_TCB_INFO: Final = "2.23.133.5.4.1.1"
_SHA384: Final = dump_oid("2.16.840.1.101.3.4.2.2")
_UTF8_STRING: Final = 0x0C
_EXPLICIT_0: Final = 0xA0
_FWIDS: Final = 0xA6  # [6] of DiceTcbInfo
_VERSION_1: Final = b"\x01"

_REASONS: Final = PathReasons(
    chain=Reason.GPU_DEVICE_CHAIN,
    untrusted_root=Reason.GPU_UNTRUSTED_ROOT,
    expired=Reason.GPU_DEVICE_EXPIRED,
    not_yet_valid=Reason.GPU_DEVICE_NOT_YET_VALID,
    kind=NotAuthentic,
)


@dataclass(frozen=True, slots=True)
class GpuDevice:
    """An authenticated device: the key of its firmware, and what its certificates say of it.

    Immutable and good for every report that it signed, inside of `validity`.
    """

    arch: GpuArch
    public_key: P384PublicKey  # the attestation key
    fwid: bytes  # 48 bytes: the digest of the firmware that holds it
    device_id: bytes  # SHA-256 of the BROM certificate's SubjectPublicKeyInfo in DER: who the device is
    pdi: bytes  # 8 bytes, the end of the BROM certificate's serial number: how devices of one machine name it
    hwmodel: str  # the common name of the BROM certificate
    ueid: int  # the serial number of the leaf, which changes with the firmware
    spdm_device_id: str  # `NVIDIA:GH100:` and 16 hex digits
    chain: tuple[Certificate, ...]  # leaf first, the pinned root last
    validity: Validity  # of the whole chain
    digests: tuple[bytes, ...]  # SHA-256 of each certificate below the root

    def require_current(self, at: datetime) -> None:
        """Raise `NotAuthentic` where `at` lies outside of the window of any certificate of the chain."""
        _REASONS.require_current(self.validity, at)


def authenticate_device(ders: Sequence[bytes], anchors: TrustAnchors, at: datetime) -> GpuDevice:
    """Verify the five certificates of a device, DER, leaf first, to NVIDIA's pinned root for devices.

    Raises `Malformed` (`der.malformed`), else `NotAuthentic`: `gpu.device_…`, `gpu.untrusted_root`,
    `gpu.fwid_extension`.
    """
    # The key of a boot ROM may sign CAs (no path length forbids it): only the depth keeps it from making devices.
    if len(ders) != CHAIN_LENGTH:
        raise NotAuthentic(
            Reason.GPU_DEVICE_CHAIN, found=f"{len(ders)} certificates", wanted=f"{CHAIN_LENGTH}, the root among them"
        )
    chain = anchors.parse(ders)
    root = verify_path(chain, anchors, at, _REASONS, NVIDIA)
    if root.common_name != _ROOT:
        raise NotAuthentic(Reason.GPU_UNTRUSTED_ROOT, found=f"the root {root.common_name!r}", wanted=_ROOT)
    if chain[-1].subject != root.subject:
        raise NotAuthentic(Reason.GPU_DEVICE_CHAIN, found="five certificates below the root", wanted="four")
    leaf, brom = chain[:2]
    arch, chip = _require_names(leaf, brom)
    below = chain[:-1]
    try:
        return GpuDevice(
            arch=arch,
            public_key=leaf.p384_public_key,
            fwid=_fwid(leaf, brom),
            device_id=sha256(_SPKI_HEAD + brom.spki).digest(),
            pdi=brom.serial_number.to_bytes(_MAX_SERIAL_SIZE, "big")[-_PDI_SIZE:],
            hwmodel=brom.common_name,
            ueid=leaf.serial_number,
            spdm_device_id=_spdm_device_id(leaf, chip),
            chain=(*below, root),
            validity=reduce(Validity.narrowed, (certificate.validity for certificate in (*below, root))),
            digests=tuple(certificate.fingerprint for certificate in below),
        )
    except Malformed as error:
        # A key that is of another kind is named by the parser, which knows no vendor.
        reason = Reason.GPU_DEVICE_PROFILE if error.reason is Reason.DER_MALFORMED else error.reason
        raise NotAuthentic(reason, found=error.found, wanted=error.wanted) from None


def _require_names(leaf: Certificate, brom: Certificate) -> tuple[GpuArch, str]:
    """Return the architecture and the name of its chip, which the certificates of boot ROM and firmware share."""
    name = _BROM.fullmatch(brom.common_name)
    if name is None or leaf.common_name != f"{name[1]} FMC LF":
        raise NotAuthentic(
            Reason.GPU_DEVICE_PROFILE,
            found="other common names, or those of two chips",
            wanted=f"<chip> FMC LF below <chip> BROM, the chip one of {', '.join(_ARCHS)}",
        )
    return _ARCHS[name[2]], name[2]


def _spdm_device_id(leaf: Certificate, chip: str) -> str:
    """Read `NVIDIA:<chip>:<number>` out of SubjectAltName ::= SEQUENCE { [0] { OID, [0] { UTF8String } } }."""
    reason = Reason.GPU_DEVICE_PROFILE
    (names,) = _parts(leaf.extension_bytes(_SUBJECT_ALTERNATIVE_NAME) or b"", reason, SEQUENCE)
    (other_name,) = _parts(names.content, reason, _EXPLICIT_0)
    oid, value = _parts(other_name.content, reason, OBJECT_IDENTIFIER, _EXPLICIT_0)
    (text,) = _parts(value.content, reason, _UTF8_STRING)
    name = text.content.decode("ascii", "replace")
    if oid.content != _SPDM_DEVICE_INFO or not re.fullmatch(rf"NVIDIA:{chip}:[0-9A-F]{{16}}", name):
        raise Malformed(reason, found="another device information", wanted=f"NVIDIA:{chip}:<16 hex digits>")
    return name


def _fwid(leaf: Certificate, brom: Certificate) -> bytes:
    """Return which firmware the leaf is for, from the one of the two extensions that it has."""
    plain, tcb_info = leaf.extension_bytes(_TCG_DICE_FWID), leaf.extension_bytes(_DICE_TCB_INFO)
    if plain is not None and tcb_info is None:
        return _fwid_of_plain(plain, brom)
    if plain is None and tcb_info is not None:
        return _fwid_of_tcb_info(tcb_info)
    raise Malformed(
        Reason.GPU_FWID_EXTENSION,
        found="neither extension, or both",
        wanted=f"either {_TCG_DICE_FWID} or {_DICE_TCB_INFO}",
    )


def _fwid_of_plain(raw: bytes, brom: Certificate) -> bytes:
    """Read SEQUENCE { INTEGER 1, SubjectPublicKeyInfo, FWID }, of Hopper and LS10; the key is the boot ROM's."""
    (extension,) = _parts(raw, Reason.GPU_FWID_EXTENSION, SEQUENCE)
    version, spki, fwid = _parts(extension.content, Reason.GPU_FWID_EXTENSION, INTEGER, SEQUENCE, SEQUENCE)
    if version.content != _VERSION_1 or spki.content != brom.spki:
        raise Malformed(
            Reason.GPU_FWID_EXTENSION,
            found="another version, or another key than that of the BROM certificate",
            wanted="version 1 and the key that issued the leaf",
        )
    return _fwid_digest(fwid)


def _fwid_of_tcb_info(raw: bytes) -> bytes:
    """Read DiceTcbInfo, of Blackwell, and return the first FWID: it is the one that reports name."""
    (extension,) = _parts(raw, Reason.GPU_FWID_EXTENSION, SEQUENCE)
    members = load_der_sequence(extension.content, Reason.GPU_FWID_EXTENSION)
    lists = [member for member in members if member.tag == _FWIDS]
    if len(lists) != 1 or len({member.tag for member in members}) != len(members):
        raise Malformed(Reason.GPU_FWID_EXTENSION, found="members doubled or without FWIDs", wanted="a DiceTcbInfo")
    fwids = load_der_sequence(lists[0].content, Reason.GPU_FWID_EXTENSION)
    digests = [_fwid_digest(fwid) for fwid in fwids]
    if not digests:
        raise Malformed(Reason.GPU_FWID_EXTENSION, found="an empty list of FWIDs", wanted="at least one")
    return digests[0]


def _fwid_digest(fwid: DerElement) -> bytes:
    """Read FWID ::= SEQUENCE { hashAlg OBJECT IDENTIFIER, digest OCTET STRING }."""
    algorithm, digest = _parts(fwid.content, Reason.GPU_FWID_EXTENSION, OBJECT_IDENTIFIER, OCTET_STRING)
    if fwid.tag != SEQUENCE or algorithm.content != _SHA384 or len(digest.content) != _FWID_SIZE:
        raise Malformed(
            Reason.GPU_FWID_EXTENSION, found="a digest of another kind", wanted=f"SHA-384, {_FWID_SIZE} bytes"
        )
    return digest.content


def _parts(raw: bytes, reason: Reason, *tags: int) -> list[DerElement]:
    """Return the elements that `raw` consists of, which have these tags."""
    parts = load_der_sequence(raw, reason)
    if tuple([part.tag for part in parts]) != tags:
        raise Malformed(reason, found=f"another structure of {len(parts)} elements", wanted=f"{len(tags)} elements")
    return parts
