"""What has been verified to be true of a piece of evidence.

Only `tdx.verify` makes `TdxClaims` and `SgxClaims`, only `snp.verify` makes `SnpClaims`, and only `nvgpu.verify` makes
`GpuClaims`, each of them last, when every check has passed; a policy takes nothing else. So evidence that was not
authenticated cannot be appraised (tests/test_architecture.py holds it).

All are tuples, since they are made thousands of times a second and frozen dataclasses take several times as long;
tuples do not inherit, so what the kinds of claims share stands in each. A report's members come first, in its order.
Integers are unsigned; byte strings stand in the byte order of the quote or report.
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
    # SEV-SNP from here on, where DEBUG is a bit of the guest policy.
    MIGRATE_MA = "migrate_ma"  # the guest policy allows a migration agent, or the guest has one
    PROVISIONAL_FIRMWARE = "provisional_firmware"  # what runs is not committed: the platform can go back to older
    CHIP_ID_MASKED = "chip_id_masked"  # the report does not name the chip


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


class ProductLine(StrEnum):
    """AMD's product lines by the names of its key distribution service; each has a root, an ASK and an ASVK."""

    MILAN = "Milan"
    GENOA = "Genoa"  # Bergamo and Siena too
    TURIN = "Turin"


class TcbVersion(NamedTuple):
    """TCB_VERSION: one security patch level (SPL) for each part of the firmware (SEV-SNP firmware ABI, 2.2).

    As a tuple it compares from the left, which means nothing here: use `covers`.
    """

    fmc: int | None  # Turin alone
    bootloader: int
    tee: int
    snp: int
    microcode: int

    def covers(self, other: "TcbVersion") -> bool:
        """Whether no part is older than in `other`, a version of the same product line."""
        return (
            self.bootloader >= other.bootloader
            and self.tee >= other.tee
            and self.snp >= other.snp
            and self.microcode >= other.microcode
            and (self.fmc or 0) >= (other.fmc or 0)
        )


class FirmwareVersion(NamedTuple):
    """The version of the SEV firmware, which compares from the left."""

    major: int
    minor: int
    build: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.build}"


class VekClaims(NamedTuple):
    """What the certificate of a versioned endorsement key says (arc 1.3.6.1.4.1.3704.1; snp.md, 2.2)."""

    kind: Literal["vcek", "vlek"]
    product_line: ProductLine
    product_name: str  # as it stands: `Milan-B0`
    tcb: TcbVersion  # the TCB that the key was derived from
    hwid: bytes | None  # VCEK: 64 bytes, of Turin 8; identifies the chip: never in public answers
    csp_id: str | None  # VLEK: the cloud provider that the key was made for


class SnpClaims(NamedTuple):
    """An ATTESTATION_REPORT from a genuine platform, under AMD's names (SEV-SNP firmware ABI, 7.3)."""

    version: int
    guest_svn: int
    policy: int  # 64 bits, the guest policy
    family_id: bytes  # 16 bytes
    image_id: bytes  # 16 bytes
    vmpl: int  # 0 to 3
    platform_info: int  # 64 bits
    author_key_en: bool
    signing_key: Literal["vcek", "vlek"]
    report_data: bytes  # 64 bytes
    measurement: bytes  # 48 bytes
    host_data: bytes  # 32 bytes
    id_key_digest: bytes  # 48 bytes
    author_key_digest: bytes  # 48 bytes
    report_id: bytes  # 32 bytes
    report_id_ma: bytes  # 32 bytes, ff in each where there is no migration agent
    cpuid_fam_id: int | None  # with the extended family; version 3 and later, as the next two
    cpuid_mod_id: int | None  # with the extended model
    cpuid_step: int | None
    chip_id: bytes  # 64 bytes, zero where masked; of Turin 8 and 56 zeros
    current_version: FirmwareVersion
    committed_version: FirmwareVersion
    launch_mit_vector: int | None  # 64 bits; version 5, as the next one
    current_mit_vector: int | None
    current_tcb: TcbVersion
    reported_tcb: TcbVersion
    committed_tcb: TcbVersion
    launch_tcb: TcbVersion
    evidence_id: bytes  # SHA-256, domain-separated, over the signed bytes only
    flags: tuple[Flag, ...]
    vek: VekClaims
    crl_checked: bool  # whether the CRL of the product line's root was looked up
    validity: Validity
    endorsement_digests: tuple[bytes, ...]  # SHA-256 of each raw document that was used

    @property
    def tee(self) -> Literal["snp"]:
        """The TEE, as evidence names it."""
        return "snp"

    @property
    def image_digest(self) -> bytes:
        """What identifies the image, in Cocoon's form."""
        return image_digest(self.measurement)


class GpuArch(StrEnum):
    """NVIDIA's architectures, as evidence names them."""

    HOPPER = "HOPPER"
    BLACKWELL = "BLACKWELL"
    LS10 = "LS10"  # NVSwitches of HOPPER's machines

    @property
    def is_switch(self) -> bool:
        """Whether it is that of an NVSwitch."""
        return self is GpuArch.LS10


class GpuMode(StrEnum):
    """How many GPUs a confidential machine has and what links them, in the order of the feature flag."""

    SPT = "SPT"  # single GPU passthrough
    MPT = "MPT"  # several, with encrypted links
    PPCIE = "PPCIE"  # all of a machine with its switches: protected PCIe


class RevocationState(StrEnum):
    """What is known of a certificate, from best to worst; the last two are refused whatever a policy says."""

    GOOD = "good"
    HOLD = "hold"  # revoked for now: certificateHold
    STALE = "stale"  # it was good, but the answer has expired
    UNAVAILABLE = "unavailable"  # there is no answer
    UNKNOWN = "unknown"  # the responder does not know it, or what it said was not good and has expired
    REVOKED = "revoked"


class OpaqueFields(NamedTuple):
    """The opaque data of a GPU's report: what its firmware says of the device, as far as it has a meaning here."""

    vbios_version: str  # `96.00.5E.00.01`; of an NVSwitch its BIOS
    driver_version: str | None  # GPUs alone, as the next four
    project: str | None
    project_sku: str | None
    chip_sku: str | None
    nvdec0_status: bool | None  # whether the decoder NVDEC0 is enabled
    chip_info: str | None
    board_id: bytes | None  # 4 bytes
    fwid: bytes | None  # 48 bytes, the digest of the firmware that holds the attestation key
    protected_pcie_status: bool | None
    feature_flag: GpuMode | None
    switch_pdis: tuple[bytes, ...]  # 8 bytes each as they stand: of a GPU by NVLink, of an NVSwitch its own
    gpu_pdis: tuple[bytes, ...]  # NVSwitches alone, 8 bytes each as they stand
    opaque_version: int | None
    unknown_types: tuple[int, ...]  # of fields that nothing is known of


class NvidiaChainClaims(NamedTuple):
    """A chain of NVIDIA's certificates that was verified to its pinned root, and whether they are revoked."""

    validity: Validity  # of the certificates
    window: Validity  # in which the OCSP answers hold as well, but for stale ones
    revocation: tuple[RevocationState, ...]  # what occurs among its certificates, best first; never the last two


class RimClaims(NamedTuple):
    """The reference values that a report was compared with. NVIDIA publishes one id with several contents."""

    id: str  # as NVIDIA's RIM service names it, made of what the report says
    sha256: bytes  # of the document: what tells RIMs apart
    signed_from: datetime  # when the certificate of its signer begins: the document is no older
    chain: NvidiaChainClaims


class GpuClaims(NamedTuple):
    """A measurement report of a genuine GPU or NVSwitch whose measurements are the golden ones."""

    arch: GpuArch  # by the device's certificates
    hwmodel: str  # the common name of the BROM certificate
    ueid: int  # the leaf's serial number: changes with the firmware
    device_id: bytes  # SHA-256 of the BROM certificate's SubjectPublicKeyInfo: stays; never in public answers
    pdi: bytes  # 8 bytes, as the BROM certificate has them; nor these
    spdm_device_id: str  # nor this: `NVIDIA:GH100:` and 16 hex digits
    nonce: bytes  # 32 bytes: what the device was asked with
    opaque: OpaqueFields
    fwid: Literal["match", "absent"]  # whether the report names the firmware that the leaf is for, or none
    compared: tuple[int, ...]  # the indices of the golden values that were compared, from 0
    skipped: tuple[int, ...]  # those that were not, by NVIDIA's own rule
    evidence_id: bytes  # SHA-256, domain-separated, over the signed bytes only
    chain: NvidiaChainClaims
    driver_rim: RimClaims | None  # GPUs alone
    vbios_rim: RimClaims  # of an NVSwitch that of its BIOS
    validity: Validity
    endorsement_digests: tuple[bytes, ...]  # SHA-256 of each raw document that was used

    @property
    def tee(self) -> Literal["nvidia"]:
        """The TEE, as evidence names it."""
        return "nvidia"


IntelClaims: TypeAlias = TdxClaims | SgxClaims
CpuClaims: TypeAlias = IntelClaims | SnpClaims

# Shown beside the fields of the report, or not at all.
_APART: Final = ("extension", "evidence_id", "flags", "tcb", "validity", "endorsement_digests")


def export(claims: CpuClaims) -> dict[str, Json]:
    """Return every verified field under the vendor's name, byte strings in lower-case hex.

    Nested are `pck` and `qe` of Intel, and of AMD `vek` and the TCB versions.
    """
    if isinstance(claims, SnpClaims):
        return _export_snp(claims)
    exported = _exported(claims, leave_out=_APART)
    if isinstance(claims, TdxClaims) and claims.extension is not None:
        exported |= _exported(claims.extension)
    # As text: readers of JSON lose the digits of integers beyond 53 bits.
    pck = {**_exported(claims.pck), "pck_serial_number": f"{claims.pck.pck_serial_number:x}"}
    return exported | {"image_digest": claims.image_digest.hex(), "pck": pck, "qe": _exported(claims.qe)}


def _export_snp(claims: SnpClaims) -> dict[str, Json]:
    # As text, like the serial number above: these have 64 bits.
    bits = (claims.policy, claims.platform_info, claims.launch_mit_vector, claims.current_mit_vector)
    policy, platform_info, launch, current = (None if value is None else f"{value:#x}" for value in bits)
    return _exported(claims, leave_out=_APART) | {
        "policy": policy,
        "platform_info": platform_info,
        "launch_mit_vector": launch,
        "current_mit_vector": current,
        "image_digest": claims.image_digest.hex(),
        "vek": _exported(claims.vek),
    }


# NVIDIA's, as its claims have it (IANA enterprise number).
_NVIDIA_OEM_ID: Final = "5703"


def export_gpu(claims: GpuClaims, *, nonce: bytes | None = None) -> dict[str, Json]:
    """Return every verified field, under NVIDIA's name where it has one, so that policies for NVIDIA's claims fit.

    `nonce` is what the device should have answered: with it the export says whether it has. Left out is what NVIDIA's
    verifiers claim without evidence of it: `secboot` and `dbgstat` (nvidia.md, 4.7).
    """
    kind = "switch" if claims.arch.is_switch else "gpu"
    report, bios = f"x-nvidia-{kind}-attestation-report", "bios" if claims.arch.is_switch else "vbios"
    exported: dict[str, Json] = {
        "x-nvidia-device-type": "nvswitch" if claims.arch.is_switch else "gpu",
        f"x-nvidia-{kind}-arch-check": True,
        f"{report}-parsed": True,
        f"{report}-signature-verified": True,
        f"{report}-cert-chain": _export_chain(claims.chain),
        # NVIDIA's verifiers say true where there is no FWID: nothing was matched.
        f"{report}-cert-chain-fwid-match": True if claims.fwid == "match" else None,
        f"x-nvidia-{kind}-{bios}-version": claims.opaque.vbios_version,
        **_export_rim(f"x-nvidia-{kind}-{bios}-rim", claims.vbios_rim),
        "measres": "success",
        "hwmodel": claims.hwmodel,
        "ueid": str(claims.ueid),
        "oemid": _NVIDIA_OEM_ID,
        "eat_nonce": claims.nonce.hex(),
    }
    if nonce is not None:
        exported[f"{report}-nonce-match"] = claims.nonce == nonce
    if claims.driver_rim is not None:
        exported |= {
            "x-nvidia-gpu-driver-version": claims.opaque.driver_version,
            "x-nvidia-gpu-mode": claims.opaque.feature_flag,
            "x-nvidia-gpu-vbios-index-no-conflict": True,
            **_export_rim("x-nvidia-gpu-driver-rim", claims.driver_rim),
        }
    return exported | {
        "arch": claims.arch.value,
        "device_id": claims.device_id.hex(),
        "pdi": claims.pdi.hex(),
        "spdm_device_id": claims.spdm_device_id,
        "opaque": _exported(claims.opaque),
        "fwid": claims.fwid,
        "measurements_compared": list(claims.compared),
        "measurements_skipped": list(claims.skipped),
        "revocation": list(claims.chain.revocation),
        "driver_rim": None if claims.driver_rim is None else _own_rim(claims.driver_rim),
        "vbios_rim": _own_rim(claims.vbios_rim),
    }


def _export_chain(chain: NvidiaChainClaims) -> Json:
    """Return a chain as NVIDIA's claims have it, who know no answer that is stale or missing: it is unknown to them."""
    is_good, on_hold = chain.revocation == (RevocationState.GOOD,), RevocationState.HOLD in chain.revocation
    return {
        "x-nvidia-cert-expiration-date": dump_time(chain.validity.not_after),
        "x-nvidia-cert-status": "revoked" if on_hold else "valid",
        "x-nvidia-cert-ocsp-status": "good" if is_good else "revoked" if on_hold else "unknown",
        "x-nvidia-cert-revocation-reason": "certificateHold" if on_hold else None,
    }


def _export_rim(name: str, rim: RimClaims) -> dict[str, Json]:
    passed = dict.fromkeys(("fetched", "signature-verified", "version-match", "measurements-available"), True)
    return {f"{name}-{check}": is_so for check, is_so in passed.items()} | {
        f"{name}-cert-chain": _export_chain(rim.chain)
    }


def _own_rim(rim: RimClaims) -> Json:
    return _exported(rim, leave_out=("chain",)) | {"revocation": list(rim.chain.revocation)}


def export_tcb(tcb: TcbClaims) -> dict[str, Json]:
    """Return the TCB verdict with its parts."""
    parts = _exported(tcb, leave_out=("status", "advisory_ids"))
    return {"status": tcb.status.value, "advisories": list(tcb.advisory_ids), **parts}


def _exported(
    value: CpuClaims
    | PckClaims
    | QeClaims
    | TcbClaims
    | TdExtension
    | VekClaims
    | TcbVersion
    | OpaqueFields
    | RimClaims,
    leave_out: tuple[str, ...] = (),
) -> dict[str, Json]:
    return {name: export_value(field) for name, field in value._asdict().items() if name not in leave_out}


def export_value(value: object) -> Json:
    """Return what JSON can say of a value: bytes in lower-case hex, times in RFC 3339, tuples as arrays.

    A TCB version is an object of its parts, a firmware version its text.
    """
    match value:
        case bytes():
            return value.hex()
        case datetime():
            return dump_time(value)
        case TcbVersion():
            return {name: spl for name, spl in _exported(value).items() if spl is not None}
        case FirmwareVersion():
            return str(value)
        case tuple():
            return [export_value(inner) for inner in value]
        case None | bool() | int():
            return value
        case _:
            return str(value)
