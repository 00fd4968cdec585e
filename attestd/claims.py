"""What has been verified to be true of a piece of evidence.

Only `tdx.verify` makes `TdxClaims` and `SgxClaims`, and it does so last, when every check has passed; a policy takes
nothing else. So evidence that was not authenticated cannot be appraised (tests/test_architecture.py holds it).

All are tuples, since they are made thousands of times a second and frozen dataclasses take several times as long;
tuples do not inherit, so what both kinds of claims share stands in both. A report's members come first, in its order.
Integers are unsigned; byte strings stand in the byte order of the quote.
"""

from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Final, Literal, NamedTuple, TypeAlias

from attestd.codec import Json, dump_time
from attestd.validity import Validity


class TcbStatus(StrEnum):
    """Intel's names, as in TCB Info, QE Identity and the quote verification library (tdx.md, steps 10-13)."""

    UP_TO_DATE = "UpToDate"
    SW_HARDENING_NEEDED = "SWHardeningNeeded"
    CONFIGURATION_NEEDED = "ConfigurationNeeded"
    CONFIGURATION_AND_SW_HARDENING_NEEDED = "ConfigurationAndSWHardeningNeeded"
    OUT_OF_DATE = "OutOfDate"
    OUT_OF_DATE_CONFIGURATION_NEEDED = "OutOfDateConfigurationNeeded"
    TD_RELAUNCH_ADVISED = "TDRelaunchAdvised"
    TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED = "TDRelaunchAdvisedConfigurationNeeded"
    REVOKED = "Revoked"


class Flag(StrEnum):
    """Facts about the evidence that do not touch its authenticity; a policy decides on each of them."""

    DEBUG = "debug"
    PROFILING = "profiling"
    MIGRATABLE = "migratable"
    SERVICE_TD_BOUND = "service_td_bound"
    SERVICE_TD_EXT = "service_td_ext"
    SEPT_VE_DISABLE_NOT_SET = "sept_ve_disable_not_set"
    RESERVED_ATTRIBUTE_BITS = "reserved_attribute_bits"
    XFAM_FIXED_BITS = "xfam_fixed_bits"
    PKS = "pks"
    KEY_LOCKER = "key_locker"
    PERFMON = "perfmon"
    LASS = "lass"
    ICSSD = "icssd"
    TPA = "tpa"


class PckCa(StrEnum):
    """Which of Intel's two intermediate CAs issued a PCK certificate; each has a CRL of its own."""

    PROCESSOR = "processor"
    PLATFORM = "platform"


class PckClaims(NamedTuple):
    """What the PCK certificate says of the platform (SGX extension 1.2.840.113741.1.13.1; tdx.md, section 3)."""

    fmspc: bytes  # 6 bytes
    pce_id: bytes  # 2 bytes
    pce_svn: int
    cpu_svn: bytes  # 16 bytes
    tcb_components: bytes  # 16 security version numbers
    ppid: bytes  # 16 bytes; identifies the processor package: never in public answers
    sgx_type: str  # Standard, Scalable, ScalableWithIntegrity
    platform_instance_id: bytes | None  # 16 bytes, Platform CA only
    dynamic_platform: bool | None
    cached_keys: bool | None
    smt_enabled: bool | None
    pck_ca: PckCa
    pck_serial_number: int


class QeClaims(NamedTuple):
    """What the quoting enclave's report says of the quoting enclave."""

    miscselect: bytes  # 4 bytes
    attributes: bytes  # 16 bytes
    mrsigner: bytes  # 32 bytes
    isvprodid: int
    isvsvn: int


class TcbClaims(NamedTuple):
    """The converged TCB status, and the parts that it converged from."""

    status: TcbStatus
    advisory_ids: tuple[str, ...]  # of the matched TCB level, module level and QE level, in this order, each once
    tcb_date: datetime  # of the matched TCB level
    tcb_evaluation_data_number: int  # the lower of TCB Info's and QE Identity's
    tcb_info_evaluation_data_number: int
    qe_identity_evaluation_data_number: int
    sgx_level_status: TcbStatus
    tdx_level_status: TcbStatus | None
    tdx_module_id: str | None
    tdx_module_status: TcbStatus | None
    qe_status: TcbStatus


class TdExtension(NamedTuple):
    """What a TD 1.5 Ex report adds behind MRSERVICETD: 237 bytes (tdx.md, section 3, Layouts)."""

    vmid: bytes  # 1 byte
    td_id: bytes  # 32 bytes
    devinfo: bytes  # 48 bytes
    init_servtd_hash: bytes  # 48 bytes
    init_servtd_attr: bytes  # 8 bytes
    init_cpu_svn: bytes  # 16 bytes
    init_tee_tcb_svn: bytes  # 16 bytes
    init_tee_fmspc: bytes  # 12 bytes; encodes a model, and is no FMSPC of 6 bytes
    curr_servtd_hash: bytes  # 48 bytes
    curr_servtd_attr: bytes  # 8 bytes


def image_digest(*registers: bytes) -> bytes:
    """Cocoon's image hash: SHA-256 over an image's registers and 64 zero bytes in place of REPORTDATA (tdx.md, 5).

    For a TD: MRTD, MRCONFIGID, MROWNER, MROWNERCONFIG, RTMR0 to RTMR3. For an enclave: MRENCLAVE.
    """
    return sha256(b"".join(registers) + bytes(64)).digest()


class TdxClaims(NamedTuple):
    """A TD report (TD 1.0; with the members of TD 1.5 and 1.5 Ex where the quote has them) from a genuine platform."""

    tee_tcb_svn: bytes  # 16 bytes
    mrseam: bytes  # 48 bytes, as all measurements below
    mrsignerseam: bytes
    seamattributes: bytes  # 8 bytes
    td_attributes: bytes  # 8 bytes, little-endian bit field
    xfam: bytes  # 8 bytes, little-endian bit field
    mrtd: bytes
    mrconfigid: bytes
    mrowner: bytes
    mrownerconfig: bytes
    rtmr0: bytes
    rtmr1: bytes
    rtmr2: bytes
    rtmr3: bytes
    report_data: bytes  # 64 bytes
    tee_tcb_svn2: bytes | None  # TD 1.5 from here on
    mrservicetd: bytes | None
    extension: TdExtension | None  # TD 1.5 Ex
    evidence_id: bytes  # SHA-256, domain-separated, over the signed bytes only
    quote_version: int
    user_data: bytes  # 20 bytes of the quote header
    flags: tuple[Flag, ...]
    tcb: TcbClaims
    pck: PckClaims
    qe: QeClaims
    validity: Validity
    endorsement_digests: tuple[bytes, ...]  # SHA-256 of each raw document that was used
    trailing_bytes: int  # unauthenticated bytes after the quote

    @property
    def tee(self) -> Literal["tdx"]:
        """The TEE, as evidence names it."""
        return "tdx"

    @property
    def image_digest(self) -> bytes:
        """What identifies the image, in Cocoon's form."""
        boot = (self.mrtd, self.mrconfigid, self.mrowner, self.mrownerconfig)
        return image_digest(*boot, self.rtmr0, self.rtmr1, self.rtmr2, self.rtmr3)


class SgxClaims(NamedTuple):
    """An SGX enclave report from a genuine platform."""

    cpusvn: bytes  # 16 bytes
    miscselect: bytes  # 4 bytes
    attributes: bytes  # 16 bytes: flags and xfrm
    mrenclave: bytes  # 32 bytes
    mrsigner: bytes  # 32 bytes
    isvprodid: int
    isvsvn: int
    report_data: bytes  # 64 bytes
    evidence_id: bytes  # SHA-256, domain-separated, over the signed bytes only
    quote_version: int
    user_data: bytes  # 20 bytes of the quote header
    flags: tuple[Flag, ...]
    tcb: TcbClaims
    pck: PckClaims
    qe: QeClaims
    validity: Validity
    endorsement_digests: tuple[bytes, ...]  # SHA-256 of each raw document that was used
    trailing_bytes: int  # unauthenticated bytes after the quote

    @property
    def tee(self) -> Literal["sgx"]:
        """The TEE, as evidence names it."""
        return "sgx"

    @property
    def image_digest(self) -> bytes:
        """What identifies the image, in Cocoon's form."""
        return image_digest(self.mrenclave)


CpuClaims: TypeAlias = TdxClaims | SgxClaims

# Shown beside the fields of the report, or not at all.
_APART: Final = ("extension", "evidence_id", "flags", "tcb", "validity", "endorsement_digests")


def export(claims: CpuClaims) -> dict[str, Json]:
    """Return every verified field under the vendor's name, byte strings in lower-case hex, `pck` and `qe` nested."""
    exported = _exported(claims, leave_out=_APART)
    if isinstance(claims, TdxClaims) and claims.extension is not None:
        exported |= _exported(claims.extension)
    # As text: readers of JSON lose the digits of integers beyond 53 bits.
    pck = {**_exported(claims.pck), "pck_serial_number": f"{claims.pck.pck_serial_number:x}"}
    return exported | {"image_digest": claims.image_digest.hex(), "pck": pck, "qe": _exported(claims.qe)}


def export_tcb(tcb: TcbClaims) -> dict[str, Json]:
    """Return the TCB verdict with its parts."""
    parts = _exported(tcb, leave_out=("status", "advisory_ids"))
    return {"status": tcb.status.value, "advisories": list(tcb.advisory_ids), **parts}


def _exported(
    value: CpuClaims | PckClaims | QeClaims | TcbClaims | TdExtension, leave_out: tuple[str, ...] = ()
) -> dict[str, Json]:
    return {name: export_value(field) for name, field in value._asdict().items() if name not in leave_out}


def export_value(value: object) -> Json:
    """Return what JSON can say of a value: bytes in lower-case hex, times in RFC 3339, tuples as arrays."""
    match value:
        case bytes():
            return value.hex()
        case datetime():
            return dump_time(value)
        case tuple():
            return [export_value(inner) for inner in value]
        case None | bool() | int():
            return value
        case _:
            return str(value)
