"""A GPU or an NVSwitch: what its certificates and its reports say of it, and what its vendor measured.

Source: TCG DICE Attestation Architecture 1.1, 6.1.1 (DiceTcbInfo); DMTF DSP0274 1.1, 10.8.2 (device information in
certificates); nvidia.md, 4.2 to 4.6.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, Self, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from attestd.simulator import der, spdm
from attestd.simulator.certificates import Extension
from attestd.simulator.keys import secret, spki
from attestd.simulator.reports import measurement
from attestd.simulator.spdm import Block, OpaqueField

Arch: TypeAlias = Literal["HOPPER", "BLACKWELL", "LS10"]
RimKind: TypeAlias = Literal["driver", "vbios"]  # that of an NVSwitch's BIOS is its VBIOS RIM

FWID_EXTENSION: Final = "2.23.133.5.4.1"
DICE_TCB_INFO: Final = "2.23.133.5.4.1.1"

SPT: Final = 0
MPT: Final = 1
PPCIE: Final = 2

ON: Final = 0xAA
OFF: Final = 0x55

_SHA384: Final = "2.16.840.1.101.3.4.2.2"
_DEVICE_INFORMATION: Final = "1.3.6.1.4.1.412.274.1"
_LINKS: Final = 18
_PORTS: Final = 64

# By architecture: what its certificates call the chip, and how many measurements it has.
CHIP_NAMES: Final[Mapping[Arch, str]] = {"HOPPER": "GH100", "BLACKWELL": "GB100", "LS10": "LS_10"}
_MEASUREMENTS: Final[Mapping[Arch, int]] = {"HOPPER": 64, "BLACKWELL": 64, "LS10": 31}
# Which indices, from 0, are active in a RIM.
_ACTIVE: Final[Mapping[Arch, Mapping[RimKind, tuple[int, ...]]]] = {
    "HOPPER": {"vbios": (*range(7), *range(8, 13)), "driver": (7, *range(21, 41))},
    "BLACKWELL": {"vbios": (*range(7), *range(8, 21)), "driver": (7, *range(21, 42))},
    "LS10": {"vbios": tuple(range(31))},
}
# What a device does not use reads as zero, which is its golden value then; and some have alternatives.
_UNUSED: Final = frozenset({0, 8, 10})
_ALTERNATIVES: Final[Mapping[int, int]] = {12: 4, 32: 2, 35: 2}
_OR_UNUSED: Final = frozenset({23, 24})
_ZERO: Final = bytes(48)

MSRSCNT: Final = b"".join(count.to_bytes(4, "little") for count in (0, 1, 4, 1, 1, 1, 1, 1))


def fwid_extension(fwid: bytes, brom: EllipticCurvePrivateKey) -> Extension:
    """Return the extension that Hopper's certificates have: the FWID beside the key of the boot ROM."""
    return Extension(FWID_EXTENSION, der.sequence(der.integer(1), spki(brom), _fwid(fwid)))


def dice_tcb_info(fwid: bytes, model: str, *others: bytes) -> Extension:
    """Return DiceTcbInfo as Blackwell's certificates have it; the FWID comes first in a list."""
    fwids = b"".join(map(_fwid, (fwid, *(others or (_ZERO,)))))
    fields = (
        *(der.implicit(tag, text.encode()) for tag, text in enumerate(("NVIDIA", model, "01"))),
        *(der.implicit(tag, bytes((number,))) for tag, number in ((3, 1), (4, 0), (5, 0))),  # svn, layer, index
        der.explicit(6, fwids),
        der.implicit(7, b"\0\x80\0\0\1"),  # flags: a BIT STRING of 32 bits
        der.implicit(8, b"\xc0"),  # vendorInfo
        der.implicit(9, b"\0"),  # type
    )
    return Extension(DICE_TCB_INFO, der.sequence(*fields))


def _fwid(digest: bytes) -> bytes:
    return der.sequence(der.oid(_SHA384), der.octets(digest))


def device_information(text: str) -> Extension:
    """Return the subject alternative name that SPDM has for devices."""
    other = x509.OtherName(x509.ObjectIdentifier(_DEVICE_INFORMATION), der.utf8_string(text))
    return Extension.of(x509.SubjectAlternativeName([other]))


def reversed_vbios_version(version: str) -> bytes:
    """Return the 8 bytes that a report of a GPU has for a version like 96.00.5E.00.01."""
    major, minor, build, revision, oem = (int(part, 16) for part in version.split("."))
    return bytes((revision, build, minor, major, oem, 0, 0, 0))


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A device in one state of its firmware. Nothing checks the fields. None and empty: a field that is not there."""

    arch: Arch
    pdi: bytes = secret("attestd", "GPU", 8)
    fwid: bytes = measurement("GPU firmware")
    driver_version: str | None = "580.95.05"
    vbios_version: str = "96.00.CF.00.01"
    project: str = "G520"
    project_sku: str = "0200"
    chip_sku: str = "885"
    chip_info: str | None = None
    board_id: int = 0x0437
    nvdec0_status: int | None = OFF
    protected_pcie_status: int | None = OFF
    switch_pdis: tuple[bytes, ...] = ()  # one for each link, as certificates have them
    gpu_pdis: tuple[bytes, ...] = ()  # of an NVSwitch: the GPUs that it connects
    opaque_data_version: int | None = 1
    feature_flag: int | None = SPT

    def numbered(self, number: int) -> Self:
        """Return another device of the kind, in the same state."""
        return replace(self, pdi=secret("attestd", f"{self.arch} {number}", 8))

    @property
    def chip(self) -> str:
        """What the certificates call the device."""
        return f"{CHIP_NAMES[self.arch]} A01 {'FSP' if self.arch == 'LS10' else 'GSP'}"

    @property
    def serial_number(self) -> int:
        """The serial number of the certificate of the boot ROM, of which the last 8 bytes are the PDI."""
        return int.from_bytes((b"\x50" if self.arch == "LS10" else b"\x41") + self.pdi)

    def extensions(self, brom: EllipticCurvePrivateKey) -> tuple[Extension, Extension]:
        """Return the extensions of the attestation key's certificate that tell device and firmware."""
        identity = f"NVIDIA:{CHIP_NAMES[self.arch]}:48B02D{self.pdi[:5].hex().upper()}"
        is_blackwell = self.arch == "BLACKWELL"
        fwid = dice_tcb_info(self.fwid, self.chip) if is_blackwell else fwid_extension(self.fwid, brom)
        return device_information(identity), fwid

    def golden(self, kind: RimKind) -> dict[int, tuple[bytes, ...]]:
        """Return what the RIM of that kind has for the state of the device: alternatives by their index, from 0."""
        state = f"{self.driver_version} driver" if kind == "driver" else f"{self.project} {self.vbios_version} VBIOS"
        return {index: _golden(f"{self.arch} {state} {index}", index) for index in _ACTIVE[self.arch].get(kind, ())}

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The measurements, of which the golden values allow all; what no RIM knows is zero."""
        golden = self.golden("vbios") | self.golden("driver")
        indices = range(_MEASUREMENTS[self.arch])
        return tuple(Block(index=index + 1, value=golden.get(index, (_ZERO,))[-1]) for index in indices)

    @property
    def opaque(self) -> tuple[OpaqueField, ...]:
        """The opaque data, in the order of genuine reports."""
        fields = self._switch_fields() if self.arch == "LS10" else self._gpu_fields()
        return tuple(OpaqueField(type=kind, data=data) for kind, data in fields if data)

    def _gpu_fields(self) -> tuple[tuple[int, bytes], ...]:
        implementation = 0x01A0 if self.arch == "BLACKWELL" else 0x0180
        return (
            (spdm.VBIOS_VERSION, reversed_vbios_version(self.vbios_version)),
            (spdm.BOARD_ID, self.board_id.to_bytes(4, "little")),
            (spdm.CHIP_SKU, _text(self.chip_sku).ljust(9, b"\0")),
            (spdm.CHIP_SKU_MOD, b"0".ljust(5, b"\0")),
            (spdm.PROJECT, _text(self.project)),
            (spdm.PROJECT_SKU, _text(self.project_sku)),
            (spdm.PROJECT_SKU_MOD, bytes(2)),
            (spdm.DRIVER_VERSION, _text(self.driver_version)),
            (spdm.GPU_INFO, implementation.to_bytes(8, "little")),
            (spdm.MSRSCNT, MSRSCNT.ljust(256, b"\0")),
            (spdm.CPRINFO, bytes.fromhex("00c00100")),
            (spdm.NVDEC0_STATUS, _number(self.nvdec0_status, 1)),
            (spdm.FWID, self.fwid),
            (spdm.PROTECTED_PCIE_STATUS, _number(self.protected_pcie_status, 1)),
            (spdm.SWITCH_PDI, b"".join(pdi[::-1] for pdi in self.switch_pdis)),
            (spdm.OPAQUE_DATA_VERSION, _number(self.opaque_data_version, 2)),
            (spdm.CHIP_INFO, _text(self.chip_info)),
            (spdm.FEATURE_FLAG, _number(self.feature_flag, 2)),
        )

    def _switch_fields(self) -> tuple[tuple[int, bytes], ...]:
        ports = bytes(min(port // 2, len(self.gpu_pdis)) for port in range(2 * len(self.gpu_pdis)))
        return (
            (spdm.VBIOS_VERSION, self.vbios_version.encode()),
            (spdm.SWITCH_PDI, self.pdi),
            (spdm.MSRSCNT, MSRSCNT.ljust(104, b"\0")),
            (spdm.SWITCH_GPU_PDIS, b"".join(self.gpu_pdis) + ports.ljust(_PORTS, b"\xff") if self.gpu_pdis else b""),
            (spdm.DISABLED_PORTS, b"\xec\0"),
            (spdm.POSITION_ID, bytes(2)),
            (spdm.LOCK_SWITCH_STATUS, b"\1\0"),
        )

    def rim_id(self, kind: RimKind) -> str:
        """Return the id by which the vendor keeps the RIM of that kind for the state of the device."""
        vbios = self.vbios_version.replace(".", "").upper()
        if self.arch == "LS10":
            return f"NV_SWITCH_BIOS_5612_0002_890_{vbios}"
        if kind == "vbios":
            return f"NV_GPU_VBIOS_{self.project}_{self.project_sku}_{self.chip_sku}_{vbios}".upper()
        if self.arch == "BLACKWELL":
            return f"NV_GPU_CC_DRIVER_{self.chip_info or 'GB100'}_{self.driver_version}"
        return f"NV_GPU_DRIVER_GH100_{self.driver_version}"

    def linked(self, switches: tuple[bytes, ...]) -> Self:
        """Return the GPU in protected-PCIe mode, its links spread over the NVSwitches that have these PDIs."""
        links = tuple(switches[link * len(switches) // _LINKS] for link in range(_LINKS))
        return replace(self, switch_pdis=links, protected_pcie_status=ON, feature_flag=PPCIE)


def _golden(what: str, index: int) -> tuple[bytes, ...]:
    if index in _UNUSED:
        return (_ZERO,)
    values = tuple(measurement(f"{what} {number}") for number in range(_ALTERNATIVES.get(index, 1)))
    return (*values, _ZERO) if index in _OR_UNUSED else values


def _text(text: str | None) -> bytes:
    return b"" if text is None else text.encode() + b"\0"


def _number(number: int | None, size: int) -> bytes:
    return b"" if number is None else number.to_bytes(size, "little")


H100: Final = Gpu(arch="HOPPER")
B200: Final = Gpu(
    arch="BLACKWELL",
    driver_version="580.95.05",
    vbios_version="97.00.88.00.0F",
    project="G525",
    project_sku="0220",
    chip_sku="886",
    chip_info="GB100",
    board_id=0x066F,
    protected_pcie_status=None,
)
NVSWITCH: Final = Gpu(
    arch="LS10",
    pdi=secret("attestd", "NVSwitch", 8),
    driver_version=None,
    vbios_version="96.10.55.00.01",
    gpu_pdis=tuple(secret("attestd", f"HOPPER {number}", 8) for number in range(8)),
)
