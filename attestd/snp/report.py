"""SEV-SNP attestation reports, versions 2 to 5: a pure parser. Nothing here says that a byte of it is true.

Source: SEV Secure Nested Paging Firmware ABI Specification (AMD 56860), 7.3, ATTESTATION_REPORT, and 2.2, TCB_VERSION;
snp.md, 2.1. Integers are little-endian. What is read is kept as it stood, and `signed` is the very slice that the
endorsement key signed.
"""

from functools import lru_cache
from hashlib import sha256
from struct import Struct
from typing import Final, Literal, NamedTuple

from attestd.claims import FirmwareVersion, ProductLine, TcbVersion
from attestd.errors import Malformed, Reason

REPORT_SIZE: Final = 0x4A0
SIGNED_SIZE: Final = 0x2A0

_ECDSA_P384_SHA384: Final = 1
# `x` skips what `_RESERVED` and `_parse_signature` demand to be zero.
_REPORT: Final = Struct(
    "<IIQ16s16sII8sQI4x"  # to 0x50: VERSION … CURRENT_TCB, PLATFORM_INFO, KEY_INFO
    "64s48s32s48s48s32s32s8s"  # to 0x188: REPORT_DATA … REPORTED_TCB
    "BBB21x64s8sBBBxBBBx8sQQ"  # to 0x208: CPUID, CHIP_ID, COMMITTED_TCB, versions, LAUNCH_TCB, mitigation vectors
)
_SIGNATURE: Final = Struct("<48s24s48s24s")
_TCB: Final = Struct("BB4sBB")  # bootloader, TEE, reserved, SNP, microcode
_TURIN_TCB: Final = Struct("BBBB3sB")  # FMC, bootloader, TEE, SNP, reserved, microcode
# Few TCBs are in use at a time, and one report has four or five.
_TCBS_KEPT: Final = 256
_ABOVE: Final = bytes(24)  # what P-384 leaves of 72 bytes for each number


def _zeros(start: int, stop: int) -> tuple[int, bytes]:
    return start, bytes(stop - start)


# What must be zero in every version, in those without mitigation vectors, and by version.
_ALWAYS: Final = (
    _zeros(0x04C, 0x050),
    _zeros(0x18B, 0x1A0),
    _zeros(0x1EB, 0x1EC),
    _zeros(0x1EF, 0x1F0),
    _zeros(0x208, 0x2A0),
    _zeros(0x330, 0x4A0),
)
_MITIGATION_VECTORS: Final = _zeros(0x1F8, 0x208)
_CPUID: Final = _zeros(0x188, 0x18B)
_RESERVED: Final = {
    2: (*_ALWAYS, _CPUID, _MITIGATION_VECTORS),
    3: (*_ALWAYS, _MITIGATION_VECTORS),
    4: (*_ALWAYS, _MITIGATION_VECTORS),
    5: _ALWAYS,
}
_CPUID_SINCE: Final = 3
_MITIGATION_VECTORS_SINCE: Final = 5

# Guest policy (4.3): bit 17 is always set, bits from 26 on do not exist.
_POLICY_ONE: Final = 1 << 17
_POLICY_KNOWN: Final = (1 << 26) - 1
_MAX_VMPL: Final = 3
# KEY_INFO
_AUTHOR_KEY_EN: Final = 1 << 0
_MASK_CHIP_KEY: Final = 1 << 1
_SIGNING_KEY: Final = 0b111
_KEY_INFO_KNOWN: Final = 0b11111
_SIGNING_KEYS: Final[dict[int, Literal["vcek", "vlek"]]] = {0: "vcek", 1: "vlek"}

_MILAN, _GENOA, _TURIN = ProductLine
# Family and model, both with their extended parts. Bergamo and Siena (a0 to af) have Genoa's keys; Venice (50 …) has
# a root of its own, which is not among the pinned ones.
_PRODUCT_LINES: Final = {
    (family, model): line
    for family, models, line in (
        (0x19, range(0x10), _MILAN),
        (0x19, range(0x10, 0x20), _GENOA),
        (0x19, range(0xA0, 0xB0), _GENOA),
        (0x1A, range(0x12), _TURIN),
    )
    for model in models
}


class ReportBody(NamedTuple):
    """The fields of a report but for its TCB versions, which lie differently in each product line."""

    version: int
    guest_svn: int
    policy: int
    family_id: bytes
    image_id: bytes
    vmpl: int
    platform_info: int
    author_key_en: bool
    signing_key: Literal["vcek", "vlek"]
    report_data: bytes
    measurement: bytes
    host_data: bytes
    id_key_digest: bytes
    author_key_digest: bytes
    report_id: bytes
    report_id_ma: bytes
    cpuid_fam_id: int | None
    cpuid_mod_id: int | None
    cpuid_step: int | None
    chip_id: bytes
    current_version: FirmwareVersion
    committed_version: FirmwareVersion
    launch_mit_vector: int | None
    current_mit_vector: int | None


class Report(NamedTuple):
    """A report that parses. Not evidence of anything yet."""

    body: ReportBody
    current_tcb: bytes  # 8 bytes each, for `tcb_version`
    reported_tcb: bytes
    committed_tcb: bytes
    launch_tcb: bytes
    product_line: ProductLine | None  # version 2 does not tell
    signed: bytes  # 0x000 to 0x29f
    signature: bytes  # r ‖ s over `signed`, 48 bytes each, big-endian

    @property
    def evidence_id(self) -> bytes:
        """SHA-256, domain-separated, over the signed bytes alone: (r, n - s) does not change it."""
        return sha256(b"attestd/evidence-id/v1/snp-report\0" + self.signed).digest()


def parse_report(raw: bytes) -> Report:
    """Parse a bare report of 1184 bytes; where a certificate table follows it, the caller has split that off.

    Raises `Malformed` with a `snp.` reason.
    """
    if len(raw) != REPORT_SIZE:
        raise Malformed(Reason.SNP_REPORT_SIZE, found=f"{len(raw)} bytes", wanted=f"{REPORT_SIZE} bytes")
    fields = _REPORT.unpack_from(raw)
    version, guest_svn, policy, family_id, image_id, vmpl, algorithm, current_tcb, platform_info, key_info = fields[:10]
    report_data, measurement, host_data, id_key_digest, author_key_digest, report_id, report_id_ma = fields[10:17]
    reported_tcb, family, model, step, chip_id, committed_tcb, build, minor, major = fields[17:26]
    committed_build, committed_minor, committed_major, launch_tcb, launch_mit_vector, current_mit_vector = fields[26:]
    _require_layout(raw, version, algorithm)
    _require_guest(policy, vmpl)
    signing_key = _signing_key(key_info)
    has_cpuid, has_vectors = version >= _CPUID_SINCE, version >= _MITIGATION_VECTORS_SINCE
    body = ReportBody(
        version,
        guest_svn,
        policy,
        family_id,
        image_id,
        vmpl,
        platform_info,
        bool(key_info & _AUTHOR_KEY_EN),
        signing_key,
        report_data,
        measurement,
        host_data,
        id_key_digest,
        author_key_digest,
        report_id,
        report_id_ma,
        family if has_cpuid else None,
        model if has_cpuid else None,
        step if has_cpuid else None,
        chip_id,
        FirmwareVersion(major, minor, build),
        FirmwareVersion(committed_major, committed_minor, committed_build),
        launch_mit_vector if has_vectors else None,
        current_mit_vector if has_vectors else None,
    )
    return Report(
        body,
        current_tcb,
        reported_tcb,
        committed_tcb,
        launch_tcb,
        _product_line(family, model) if has_cpuid else None,
        raw[:SIGNED_SIZE],
        _parse_signature(raw),
    )


def _require_layout(raw: bytes, version: int, algorithm: int) -> None:
    if version not in _RESERVED:
        raise Malformed(Reason.SNP_REPORT_VERSION, found=f"version {version}", wanted="version 2, 3, 4 or 5")
    if algorithm != _ECDSA_P384_SHA384:
        raise Malformed(
            Reason.SNP_SIGNATURE_ALGORITHM,
            found=f"SIGNATURE_ALGO {algorithm:#x}",
            wanted=f"{_ECDSA_P384_SHA384}, ECDSA P-384 with SHA-384",
        )
    for start, zeros in _RESERVED[version]:
        if not raw.startswith(zeros, start):
            raise Malformed(
                Reason.SNP_RESERVED,
                found=f"a bit set from {start:#x} on",
                wanted=f"{len(zeros)} bytes of zero there in version {version}",
            )


def _require_guest(policy: int, vmpl: int) -> None:
    if not policy & _POLICY_ONE or policy > _POLICY_KNOWN:
        raise Malformed(Reason.SNP_POLICY_RESERVED, found=f"POLICY {policy:#x}", wanted="bit 17 set, no bit from 26 on")
    if vmpl > _MAX_VMPL:
        # The host asked for such a report: no guest can.
        raise Malformed(Reason.SNP_VMPL, found=f"VMPL {vmpl:#x}", wanted=f"0 to {_MAX_VMPL}")


def _signing_key(key_info: int) -> Literal["vcek", "vlek"]:
    if key_info & ~_KEY_INFO_KNOWN:
        raise Malformed(Reason.SNP_KEY_INFO, found=f"KEY_INFO {key_info:#x}", wanted="no bit from 5 on")
    signing_key = _SIGNING_KEYS.get(key_info >> 2)
    if signing_key is None:
        raise Malformed(Reason.SNP_SIGNING_KEY, found=f"SIGNING_KEY {key_info >> 2}", wanted="0 (VCEK) or 1 (VLEK)")
    if key_info & _MASK_CHIP_KEY:
        raise Malformed(
            Reason.SNP_MASK_CHIP_KEY, found="MASK_CHIP_KEY set, zeros for a signature", wanted="a report that is signed"
        )
    return signing_key


def _product_line(family: int, model: int) -> ProductLine:
    line = _PRODUCT_LINES.get((family, model))
    if line is None:
        raise Malformed(
            Reason.SNP_CPUID,
            found=f"CPUID family {family:#x}, model {model:#x}",
            wanted="Milan (0x19, 00 to 0f), Genoa (0x19, 10 to 1f and a0 to af) or Turin (0x1a, 00 to 11)",
        )
    return line


def _parse_signature(raw: bytes) -> bytes:
    r, above_r, s, above_s = _SIGNATURE.unpack_from(raw, SIGNED_SIZE)
    if above_r != _ABOVE or above_s != _ABOVE:
        raise Malformed(
            Reason.SNP_REPORT_SIGNATURE,
            found="an r or s of more than 48 bytes",
            wanted="integers below the order of P-384",
        )
    return bytes(r[::-1] + s[::-1])


@lru_cache(maxsize=_TCBS_KEPT)
def tcb_version(raw: bytes, line: ProductLine) -> TcbVersion:
    """Read the 8 bytes of a TCB_VERSION as `line` lays them out: Turin has an FMC, which the others do not.

    Raises `Malformed` (`snp.reserved`).
    """
    if line is _TURIN:
        fmc, bootloader, tee, snp, reserved, microcode = _TURIN_TCB.unpack(raw)
    else:
        fmc = None
        bootloader, tee, reserved, snp, microcode = _TCB.unpack(raw)
    if reserved.strip(b"\0"):
        raise Malformed(
            Reason.SNP_RESERVED, found=f"TCB_VERSION {raw.hex()}", wanted=f"zeros where {line} has no component"
        )
    return TcbVersion(fmc, bootloader, tee, snp, microcode)
