"""Reference values: which RIMs a report needs, whether those at hand are them, and how the measurements compare.

Source: NVIDIA's attestation SDK (nvidia.md, 4.6 and 4.7). Indices are those of golden values, from 0; SPDM counts the
same measurements from 1.
"""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from attestd.claims import GpuArch, OpaqueFields
from attestd.errors import EndorsementRejected, Reason
from attestd.nvgpu.device import GpuDevice
from attestd.nvgpu.rim import MEASUREMENTS, Rim, RimName
from attestd.nvgpu.spdm import GpuReport

# What index 35 measures does not run while the decoder NVDEC0 is disabled.
_NVDEC0: Final = 35

_SOURCES: Final[tuple[Literal["driver", "vbios"], ...]] = ("driver", "vbios")  # of `Rims`
# What a report has of the measurements behind its last one.
_NONE: Final = (None,) * MEASUREMENTS

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


@dataclass(frozen=True, slots=True, order=True)
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
    mismatches: list[Mismatch]


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


def rim_names(report: GpuReport, device: GpuDevice) -> tuple[RimName | None, RimName]:
    """Return what the RIMs of driver and VBIOS must say that they are for; None where there is no driver."""
    opaque = report.opaque
    product = _product(opaque, device.arch)
    if device.arch.is_switch or opaque.driver_version is None:
        return None, RimName("switch_bios", product, opaque.vbios_version)
    return RimName("driver", product, opaque.driver_version), RimName("vbios", product, opaque.vbios_version)


def require_matching(rims: Rims, report: GpuReport, device: GpuDevice) -> RimIds:
    """Refuse a RIM that is for another kind of firmware, product or version than the authentic report names.

    A RIM does not name the board. The last parts of a VBIOS version do: no two boards share one. Returns what
    `rim_ids` does. Raises `EndorsementRejected` (`gpu.rim_mismatch`).
    """
    ids = rim_ids(report, device)
    for rim, name, rim_id in zip(rims, rim_names(report, device), ids, strict=True):
        if rim is not None and rim.name != name:
            raise EndorsementRejected(
                Reason.GPU_RIM_MISMATCH, found=f"a RIM for {rim.name}", wanted=rim_id or "none for an NVSwitch"
            )
    return ids


def compare(report: GpuReport, rims: Rims) -> Comparison:
    """Compare measurements with the golden values of the RIMs at hand: each must be one of its alternatives.

    Raises `EndorsementRejected` (`gpu.rim_conflict`) where both RIMs have an index.
    """
    golden = [(source, rim.golden) for source, rim in zip(_SOURCES, rims, strict=True) if rim is not None]
    indices = set[int]().union(*[values for _, values in golden])
    doubled = sum([len(values) for _, values in golden]) - len(indices)
    if doubled:
        raise EndorsementRejected(
            Reason.GPU_RIM_CONFLICT, found=f"{doubled} indices in both RIMs", wanted="each index in one of them"
        )
    skipped = (_NVDEC0,) if report.opaque.nvdec0_status is False and _NVDEC0 in indices else ()
    measured: tuple[bytes | None, ...] = (*report.measurements, *_NONE)
    return Comparison(
        tuple(sorted(indices.difference(skipped))),
        skipped,
        sorted(
            [
                Mismatch(index, source, values, measured[index])
                for source, alternatives in golden
                for index, values in alternatives.items()
                if measured[index] not in values and index not in skipped
            ]
        ),
    )
