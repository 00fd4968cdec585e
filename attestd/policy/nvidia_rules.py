"""The section `[gpu]` of a policy as frozen values.

policies/README.md explains each member; the reasons for them are in nvidia.md, 4.2 to 4.9 and 6, and in binding.md.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Final

from attestd.binding.verify import BindingGrade
from attestd.claims import GpuArch, GpuMode, RevocationState
from attestd.evidence import MAX_GPUS
from attestd.policy import document
from attestd.policy.document import ANY, BOOLEAN, NO_WORD, NONE, Kind, Table, integer, refusal
from attestd.policy.rules import SHA256, seconds

# Grades from weak to strong. A boot gate stands below all that is verified: a policy states it.
GRADES: Final = tuple(BindingGrade)
GPU_ARCHITECTURES: Final = tuple(arch for arch in GpuArch if not arch.is_switch)
# What a policy may accept beside `good`, each by its name. The others are refused before any policy is asked.
_STATES: Final = tuple(
    state for state in RevocationState if state not in (RevocationState.REVOKED, RevocationState.UNKNOWN)
)

# Few versions are in use at a time: each is taken apart once, though it is compared for every report.
_VERSIONS_KEPT: Final = 64
_DRIVER: Final = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6}){1,3}")
_VBIOS: Final = re.compile(r"[0-9A-Fa-f]{2}(?:\.[0-9A-Fa-f]{2}){4}")


@lru_cache(maxsize=_VERSIONS_KEPT)
def driver_version(text: str) -> tuple[int, ...] | None:
    """Return what compares as the versions of a driver do, number by number: 550.90.07 is below 550.144.03.

    Zeros at the end say nothing: 545.00 is 545.00.00. None is returned for what is no such version.
    """
    if not _DRIVER.fullmatch(text):
        return None
    numbers = list(map(int, text.split(".")))
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


@lru_cache(maxsize=_VERSIONS_KEPT)
def vbios_version(text: str) -> tuple[int, ...] | None:
    """Return what compares as the versions of a VBIOS do, hex number by hex number, or None for what is no version."""
    return tuple(int(number, 16) for number in text.split(".")) if _VBIOS.fullmatch(text) else None


def _version(wanted: str, parse: Callable[[str], tuple[int, ...] | None]) -> Kind[str]:
    """Take a version, and keep it as it is written."""
    return Kind(wanted, lambda value: value if isinstance(value, str) and parse(value) is not None else None)


_DRIVER_KIND: Final = _version("a version of 2 to 4 decimal numbers such as 580.95.05, quoted", driver_version)
_VBIOS_KIND: Final = _version("a version of 5 hex numbers such as 96.00.9F.00.01, quoted", vbios_version)
_HWMODEL: Final = document.pattern("a hwmodel such as GH100 A01 GSP BROM", r"[A-Z0-9][A-Za-z0-9 _.-]{0,63}")
# None as a value: the report does not say.
_MODES: Final[Mapping[str, tuple[GpuMode | None]]] = {
    **{mode.value: (mode,) for mode in GpuMode},
    "unstated": (None,),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuRules:
    """The section `[gpu]`: GPUs and NVSwitches beside a CPU."""

    min_count: int | None  # of GPUs
    max_count: int | None
    switches: frozenset[int] | None  # how many NVSwitches
    topology_required: bool
    architectures: frozenset[GpuArch] | None  # of GPUs
    modes: frozenset[GpuMode | None] | None  # None as a value: the reports do not say
    # By architecture, as written; one that is not there is refused.
    min_driver_version: Mapping[GpuArch, str] | None
    min_vbios_version: Mapping[GpuArch, str] | None
    fwid_required: bool
    nvdec0_required: bool  # whether no golden value may have been skipped
    device_ids: frozenset[bytes] | None  # SHA-256 of each BROM key: a policy is public, a key is of one device for good
    denied_device_ids: frozenset[bytes]
    denied_hwmodels: frozenset[str]
    max_rim_age: timedelta | None
    denied_rims: frozenset[bytes]  # SHA-256 of the documents
    device_revocation: frozenset[RevocationState]
    rim_revocation: frozenset[RevocationState]
    min_grade: BindingGrade
    boot_gate: bool  # whether the policy states that its images refuse to start without a good GPU

    def grade(self, verified: BindingGrade) -> BindingGrade:
        """Return the grade with what the policy states of its images; nothing of that was verified."""
        return BindingGrade.BOOT_GATE if self.boot_gate and verified is BindingGrade.NONE else verified


_SECTION: Final = (
    "min_count",
    "max_count",
    "switches",
    "topology",
    "architectures",
    "modes",
    "min_driver_version",
    "min_vbios_version",
    "fwid",
    "nvdec0_measurement",
    "device_ids",
    "denied_device_ids",
    "denied_hwmodels",
    "max_rim_age_seconds",
    "denied_rims",
    "revocation",
    "min_grade",
    "boot_gate",
)


def load_gpu(policy: Table) -> GpuRules:
    """Read the section `[gpu]`. Raises `ConfigurationRefused` (`policy.malformed`)."""
    table = policy.table("gpu", _SECTION)
    count, required = integer(1, MAX_GPUS), document.one_of({"required": True})
    revocation = table.table("revocation", ("device", "rims"))
    rules = GpuRules(
        min_count=table.one("min_count", count, ANY),
        max_count=table.one("max_count", count, ANY),
        switches=table.many("switches", integer(0, MAX_GPUS), {"none": frozenset({0}), "any": None}),
        topology_required=table.one("topology", required, {"any": False}),
        architectures=table.many("architectures", document.members(GpuArch, without=(GpuArch.LS10,)), ANY),
        modes=_modes(table),
        min_driver_version=_floors(table, "min_driver_version", GPU_ARCHITECTURES, _DRIVER_KIND),
        min_vbios_version=_floors(table, "min_vbios_version", tuple(GpuArch), _VBIOS_KIND),
        fwid_required=table.one("fwid", required, {"any": False}),
        nvdec0_required=table.one("nvdec0_measurement", required, {"any": False}),
        device_ids=table.many("device_ids", SHA256, ANY),
        denied_device_ids=table.many("denied_device_ids", SHA256, NONE),
        denied_hwmodels=table.many("denied_hwmodels", _HWMODEL, NONE),
        max_rim_age=seconds(table, "max_rim_age_seconds"),
        denied_rims=table.many("denied_rims", SHA256, NONE),
        device_revocation=_states(revocation, "device"),
        rim_revocation=_states(revocation, "rims"),
        min_grade=table.one("min_grade", document.members(BindingGrade, without=(BindingGrade.BOOT_GATE,)), NO_WORD),
        boot_gate=table.one("boot_gate", BOOLEAN, NO_WORD),
    )
    if rules.min_count is not None and rules.max_count is not None and rules.max_count < rules.min_count:
        raise refusal("gpu.max_count", f"{rules.max_count}, which is below min_count", f"at least {rules.min_count}")
    return rules


def _modes(table: Table) -> frozenset[GpuMode | None] | None:
    listed = table.many("modes", document.one_of(_MODES), ANY)
    return None if listed is None else frozenset(mode for (mode,) in listed)


def _floors(
    section: Table, name: str, architectures: tuple[GpuArch, ...], kind: Kind[str]
) -> dict[GpuArch, str] | None:
    table = section.table_or(name, (), ANY, optional=[arch.value for arch in architectures])
    if table is None:
        return None
    floors = {arch: table.one(arch.value, kind, NO_WORD) for arch in architectures if arch.value in table}
    if not floors:
        raise refusal(table.path, "an empty table", "the lowest version of at least one architecture")
    return floors


def _states(table: Table, name: str) -> frozenset[RevocationState]:
    """Read which states are accepted. One that is good always is, so a list without it would say what is not meant."""
    states = table.many(name, document.one_of({state.value: state for state in _STATES}), NO_WORD)
    if RevocationState.GOOD not in states:
        raise refusal(f"{table.path}.{name}", "a list without good", "good, and what is accepted beside it")
    return states
