"""Reference values: which RIMs a report needs, whether those at hand are them, and how the measurements compare.

Source: NVIDIA's attestation SDK (nvidia.md, 4.6 and 4.7). Indices are those of golden values, from 0; SPDM counts the
same measurements from 1.
"""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from attestd.claims import GpuArch, OpaqueFields
from attestd.errors import EndorsementRejected, Reason
from attestd.nvgpu.device import GpuDevice
from attestd.nvgpu.rim import Rim, RimKind
from attestd.nvgpu.spdm import GpuReport

# What index 35 measures does not run while the decoder NVDEC0 is disabled.
_NVDEC0: Final = 35

_PRODUCTS: Final = {GpuArch.HOPPER: "GH100", GpuArch.BLACKWELL: "GB100", GpuArch.LS10: "LS10"}
# Of all LS10 switches, whatever the report says: project, SKU of the project, SKU of the chip.
_LS10_BOARD: Final = ("5612", "0002", "890")


class Rims(NamedTuple):
    """The authenticated RIMs at hand for one device. The BIOS of an NVSwitch stands in the place of the VBIOS."""

    driver: Rim | None = None
    vbios: Rim | None = None


class RimIds(NamedTuple):
    """The names of the RIMs that a device needs, as NVIDIA's RIM service has them."""

    driver: str | None  # GPUs alone
    vbios: str


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A measurement that is not what it should be."""

    index: int
    source: Literal["driver", "vbios"]  # the RIM that says so
    golden: tuple[bytes, ...]  # the values that are good, 48 bytes each
    runtime: bytes | None  # the value that was measured; None where the report has none


class Comparison(NamedTuple):
    """Measurements beside golden values."""

    compared: tuple[int, ...]
    skipped: tuple[int, ...]
    mismatches: tuple[Mismatch, ...]


def rim_ids(report: GpuReport, device: GpuDevice) -> RimIds:
    """Return which RIMs a report needs. Its texts have the alphabet of file names, and no separator.

    Meaningful for an authentic report alone: until then, anybody may have named the RIMs.
    """
    opaque = report.opaque
    version = opaque.vbios_version.replace(".", "")
    if device.arch.is_switch:
        return RimIds(None, "_".join(("NV_SWITCH_BIOS", *_LS10_BOARD, version)).upper())
    vbios = f"NV_GPU_VBIOS_{opaque.project}_{opaque.project_sku}_{opaque.chip_sku}_{version}"
    return RimIds(_driver_id(opaque, device.arch), vbios.upper())


def _driver_id(opaque: OpaqueFields, arch: GpuArch) -> str:
    kind = "CC_DRIVER" if arch is GpuArch.BLACKWELL else "DRIVER"
    return f"NV_GPU_{kind}_{_product(opaque, arch)}_{opaque.driver_version}"


def _product(opaque: OpaqueFields, arch: GpuArch) -> str:
    """Return the chip, which Blackwell names: older firmware of it does not, and is of the first one."""
    return (opaque.chip_info if arch is GpuArch.BLACKWELL else None) or _PRODUCTS[arch]


def require_matching(rims: Rims, report: GpuReport, device: GpuDevice) -> None:
    """Refuse a RIM that is for another kind of firmware, product or version than the authentic report names.

    A RIM does not name the board. The last parts of a VBIOS version do: no two boards share one.

    Raises `EndorsementRejected` (`gpu.rim_mismatch`).
    """
    opaque, ids = report.opaque, rim_ids(report, device)
    bios: RimKind = "switch_bios" if device.arch.is_switch else "vbios"
    for rim, kind, version, rim_id in (
        (rims.driver, "driver", opaque.driver_version, ids.driver),
        (rims.vbios, bios, opaque.vbios_version, ids.vbios),
    ):
        wanted = (kind, _product(opaque, device.arch), version)
        if rim is not None and (rim.kind, rim.product, rim.version) != wanted:
            raise EndorsementRejected(
                Reason.GPU_RIM_MISMATCH,
                found=f"a {rim.kind} RIM of {rim.product} {rim.version}",
                wanted="none for an NVSwitch" if rim_id is None else rim_id,
            )


def compare(report: GpuReport, rims: Rims) -> Comparison:
    """Compare measurements with the golden values of the RIMs at hand: each must be one of its alternatives.

    Raises `EndorsementRejected` (`gpu.rim_conflict`) where both RIMs have an index.
    """
    golden = [(index, source, values) for source, rim in _sources(rims) for index, values in rim.golden.items()]
    indices = {index for index, _, _ in golden}
    if len(indices) != len(golden):
        raise EndorsementRejected(
            Reason.GPU_RIM_CONFLICT,
            found=f"{len(golden) - len(indices)} indices in both RIMs",
            wanted="each index in one of them",
        )
    skipped = indices & {_NVDEC0} if report.opaque.nvdec0_status is False else frozenset[int]()
    measured = dict(enumerate(report.measurements))
    return Comparison(
        tuple(sorted(indices - skipped)),
        tuple(skipped),
        tuple(
            [
                Mismatch(index, source, values, measured.get(index))
                for index, source, values in sorted(golden)
                if index not in skipped and measured.get(index) not in values
            ]
        ),
    )


def _sources(rims: Rims) -> list[tuple[Literal["driver", "vbios"], Rim]]:
    found: list[tuple[Literal["driver", "vbios"], Rim]] = []
    if rims.driver is not None:
        found.append(("driver", rims.driver))
    if rims.vbios is not None:
        found.append(("vbios", rims.vbios))
    return found
