"""SEV-SNP attestation reports, field by field in the order of the layout; every field may be replaced.

Source: SEV Secure Nested Paging Firmware ABI Specification (AMD 56860), 7.3, ATTESTATION_REPORT; snp.md, 2.1. Integers
are little-endian, those of the signature too.
"""

from dataclasses import astuple, dataclass, replace
from struct import Struct
from typing import Any, Final, Self

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from attestd.claims import FirmwareVersion
from attestd.simulator.keys import P384_ORDER, secret
from attestd.simulator.reports import measurement
from attestd.simulator.tampering import Signing, put
from attestd.simulator.vek import Chip, tcb_version

_LAYOUT: Final = Struct(
    "<IIQ16s16sII8sQI4s"  # to 0x050
    "64s48s32s48s48s32s32s"  # to 0x180
    "8sBBB21s64s8s"  # to 0x1e8
    "BBBsBBBs8sQQ152s"  # to 0x2a0
)
_INTEGER_SIZE: Final = 72
_UNSIGNED: Final = bytes(0x4A0 - 0x330)
_S_OFFSET: Final = 0x2E8

# Guest policy: any version of the ABI from 0.31 on, SMT allowed, and bit 17, which is always set.
SMT_ALLOWED: Final = 1 << 16
POLICY: Final = 0x1F | SMT_ALLOWED | 1 << 17
MIGRATE_MA: Final = 1 << 18
DEBUG_ALLOWED: Final = 1 << 19
# Platform information: SMT, ECC, and that memory was checked for aliases.
PLATFORM_INFO: Final = 1 << 0 | 1 << 2 | 1 << 5

FIRMWARE: Final = FirmwareVersion(1, 55, 60)

_CPUID_SINCE: Final = 3
_MITIGATION_VECTORS_SINCE: Final = 5


@dataclass(frozen=True, kw_only=True)
class SnpReport:
    """What the firmware signs, 672 bytes: a production guest, unless told otherwise.

    None stands for what the chip determines; `of` fills it in.
    """

    version: int = 5
    guest_svn: int = 2
    policy: int = POLICY
    family_id: bytes = b"\1" + bytes(15)
    image_id: bytes = b"\2" + bytes(15)
    vmpl: int = 0
    signature_algo: int = 1  # ECDSA P-384 with SHA-384
    current_tcb: bytes | None = None
    platform_info: int = PLATFORM_INFO
    key_info: int | None = None
    reserved_04c: bytes = bytes(4)
    report_data: bytes = secret("attestd", "report data", 64)
    measurement: bytes = measurement("SEV-SNP guest")
    host_data: bytes = bytes(32)
    id_key_digest: bytes = bytes(48)
    author_key_digest: bytes = bytes(48)
    report_id: bytes = secret("attestd", "report id", 32)
    report_id_ma: bytes = b"\xff" * 32  # no migration agent
    reported_tcb: bytes | None = None
    cpuid_fam_id: int | None = None
    cpuid_mod_id: int | None = None
    cpuid_step: int | None = None
    reserved_18b: bytes = bytes(21)
    chip_id: bytes | None = None
    committed_tcb: bytes | None = None
    current_build: int = FIRMWARE.build
    current_minor: int = FIRMWARE.minor
    current_major: int = FIRMWARE.major
    reserved_1eb: bytes = bytes(1)
    committed_build: int = FIRMWARE.build
    committed_minor: int = FIRMWARE.minor
    committed_major: int = FIRMWARE.major
    reserved_1ef: bytes = bytes(1)
    launch_tcb: bytes | None = None
    launch_mit_vector: int | None = None
    current_mit_vector: int | None = None
    reserved_208: bytes = bytes(152)

    def of(self, chip: Chip) -> Self:
        """Return the report with what `chip` determines in place of None: all four TCB versions are its own."""
        tcb = tcb_version(chip.tcb, chip.line)
        cpuid = (chip.family, chip.model, chip.stepping) if self.version >= _CPUID_SINCE else (0, 0, 0)
        vector = chip.mitigation_vector if self.version >= _MITIGATION_VECTORS_SINCE else 0
        determined: dict[str, Any] = {
            "current_tcb": tcb,
            "key_info": signing_key(int(chip.kind == "vlek")),
            "reported_tcb": tcb,
            "cpuid_fam_id": cpuid[0],
            "cpuid_mod_id": cpuid[1],
            "cpuid_step": cpuid[2],
            "chip_id": chip.hwid.ljust(64, b"\0"),
            "committed_tcb": tcb,
            "launch_tcb": tcb,
            "launch_mit_vector": vector,
            "current_mit_vector": vector,
        }
        return replace(self, **{name: value for name, value in determined.items() if getattr(self, name) is None})

    def encode(self) -> bytes:
        """Return the layout up to the signature. Raises `ValueError` where a field has another size than its place."""
        fields = astuple(self)
        encoded = _LAYOUT.pack(*fields)
        # Bytes that do not fit are cut off or padded in silence.
        if _LAYOUT.unpack(encoded) != fields:
            raise ValueError("a field has another size than its place in the report")
        return encoded


SNP: Final = SnpReport()


def signing_key(kind: int, *, mask_chip_key: bool = False, author_key_en: bool = False) -> int:
    """Return KEY_INFO; `kind` is 0 for a VCEK, 1 for a VLEK, 7 for none."""
    return kind << 2 | mask_chip_key << 1 | author_key_en


def seal_report(report: SnpReport, key: EllipticCurvePrivateKey, signing: Signing) -> bytes:
    """Return the whole report, 1184 bytes; `signing.after` edits it."""
    signed = signing.before(report.encode())
    signature = signing.p384(key, signed)
    r, s = (half[::-1].ljust(_INTEGER_SIZE, b"\0") for half in (signature[:48], signature[48:]))
    return signing.after(signed + r + s + _UNSIGNED)


def other_s(raw: bytes) -> bytes:
    """Replace S of a report by n - S: another signature that verifies (ECDSA is malleable)."""
    s = int.from_bytes(raw[_S_OFFSET : _S_OFFSET + 48], "little")
    return put(_S_OFFSET, (P384_ORDER - s).to_bytes(48, "little"))(raw)
