"""Several GPUs and NVSwitches of one machine: that each is there once, and that they name each other (nvidia.md, 4.9).

A device's PDI is the last eight bytes of the serial number of its BROM certificate. GPUs report the PDIs of the
switches that their links end at, with their bytes reversed; switches report their own and those of their GPUs as they
stand. So what signed reports name is compared with what certificates say, not only counted.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from attestd.claims import GpuArch, GpuMode, OpaqueFields
from attestd.codec import Json
from attestd.errors import NotAuthentic, Reason

_SHOWN: Final = 4  # how many PDIs a refusal lists


class Member(NamedTuple):
    """One device: what its authenticated chain says of it, and its authenticated report."""

    arch: GpuArch  # by the chain
    device_id: bytes  # SHA-256 of the BROM certificate's public key
    pdi: bytes  # the last 8 bytes of the BROM certificate's serial number
    opaque: OpaqueFields


class Topology(NamedTuple):
    """Devices that go together. PDIs are those of their certificates, in the order in which they were presented."""

    arch: GpuArch  # of the GPUs
    mode: GpuMode | None  # None: the firmware does not say
    gpus: tuple[bytes, ...]
    switches: tuple[bytes, ...]
    # Switches that the GPUs name, none of which was presented: then nothing is known of what lies between the GPUs, nor
    # of whether all are here. With protected PCIe a policy should want none.
    absent_switches: tuple[bytes, ...]


def verify_topology(members: Sequence[Member]) -> Topology:
    """Verify that devices, each authentic for itself, are those of one machine.

    Each is there once. All GPUs are of one architecture and in one mode, with switches only in protected PCIe. All GPUs
    name the same switches, and where switches are presented it is exactly these; each switch names exactly the GPUs.

    Raises `NotAuthentic`: `gpu.duplicate_device`, `gpu.topology_…`.
    """
    _require_distinct(members)
    gpus = [member for member in members if not member.arch.is_switch]
    switches = [member for member in members if member.arch.is_switch]
    arch = _arch(gpus, switches)
    mode = _mode(gpus)
    if switches and mode is not GpuMode.PPCIE:
        raise NotAuthentic(
            Reason.GPU_TOPOLOGY_MODE,
            found=f"{len(switches)} switches beside GPUs in mode {_name(mode)}",
            wanted=f"switches beside GPUs in mode {GpuMode.PPCIE} alone",
        )
    absent = _absent_switches(gpus, switches, mode)
    _require_links(gpus, switches)
    return Topology(arch, mode, tuple([gpu.pdi for gpu in gpus]), tuple([switch.pdi for switch in switches]), absent)


def export_topology(topology: Topology) -> dict[str, Json]:
    """Return it for JSON, PDIs in hex: for the provider and for auditors, since they tell machines apart."""
    return {
        "arch": topology.arch.value,
        "mode": None if topology.mode is None else topology.mode.value,
        "gpus": [pdi.hex() for pdi in topology.gpus],
        "switches": [pdi.hex() for pdi in topology.switches],
        "absent_switches": [pdi.hex() for pdi in topology.absent_switches],
    }


def gpu_mode(opaque: OpaqueFields) -> GpuMode | None:
    """Return the mode of a GPU; None where its firmware is older than the field that says so, or has neither of them.

    Raises `NotAuthentic` (`gpu.topology_mode`) where the two fields contradict each other.
    """
    flag, protected = opaque.feature_flag, opaque.protected_pcie_status
    if flag is None:
        return GpuMode.PPCIE if protected else None
    if protected is not None and protected is not (flag is GpuMode.PPCIE):
        raise NotAuthentic(
            Reason.GPU_TOPOLOGY_MODE,
            found=f"mode {flag} with protected PCIe {'on' if protected else 'off'}",
            wanted=f"protected PCIe on in mode {GpuMode.PPCIE} alone",
        )
    return flag


def _require_distinct(members: Sequence[Member]) -> None:
    """Refuse a device that is there twice, by its key; and a PDI that is, which would make one device of two."""
    for kind, values in (("BROM key", [one.device_id for one in members]), ("PDI", [one.pdi for one in members])):
        doubled = {value for value in values if values.count(value) > 1}
        if doubled:
            raise NotAuthentic(
                Reason.GPU_DUPLICATE_DEVICE,
                found=f"several devices with {kind} {_shown(doubled)}",
                wanted=f"{len(members)} devices that differ",
            )


def _arch(gpus: Sequence[Member], switches: Sequence[Member]) -> GpuArch:
    found = {gpu.arch for gpu in gpus}
    if len(found) != 1 or (switches and found != {GpuArch.HOPPER}):
        raise NotAuthentic(
            Reason.GPU_TOPOLOGY_ARCHITECTURE,
            found=", ".join(sorted({one.arch for one in (*gpus, *switches)})) or "no device",
            wanted=f"GPUs of one architecture; {GpuArch.LS10} beside {GpuArch.HOPPER} alone",
        )
    return found.pop()


def _mode(gpus: Iterable[Member]) -> GpuMode | None:
    modes = {gpu_mode(gpu.opaque) for gpu in gpus}
    if len(modes) != 1:
        raise NotAuthentic(
            Reason.GPU_TOPOLOGY_MODE,
            found=f"GPUs in modes {', '.join(sorted(map(_name, modes)))}",
            wanted="all GPUs in one mode",
        )
    return modes.pop()


def _absent_switches(gpus: Sequence[Member], switches: Sequence[Member], mode: GpuMode | None) -> tuple[bytes, ...]:
    """Compare what the GPUs name with each other, and with the switches if there are any; return what is not here."""
    first, *others = [frozenset(pdi[::-1] for pdi in gpu.opaque.switch_pdis) for gpu in gpus]
    different = next((named for named in others if named != first), None)
    if different is not None:
        raise NotAuthentic(
            Reason.GPU_TOPOLOGY_SWITCHES,
            found=f"GPUs that name {_shown(first)} and GPUs that name {_shown(different)}",
            wanted="GPUs that all name the same switches",
        )
    if mode is GpuMode.PPCIE and not first:
        raise NotAuthentic(
            Reason.GPU_TOPOLOGY_SWITCHES,
            found="GPUs that name no switch",
            wanted=f"the switches of the machine, in mode {GpuMode.PPCIE}",
        )
    presented = frozenset(switch.pdi for switch in switches)
    if presented and presented != first:
        raise NotAuthentic(
            Reason.GPU_TOPOLOGY_SWITCHES,
            found=f"switches {_shown(presented)}",
            wanted=f"exactly {_shown(first)}, which the GPUs name",
        )
    return tuple(sorted(first - presented))


def _require_links(gpus: Iterable[Member], switches: Iterable[Member]) -> None:
    presented = frozenset(gpu.pdi for gpu in gpus)
    for switch in switches:
        if switch.opaque.switch_pdis != (switch.pdi,):
            raise NotAuthentic(
                Reason.GPU_TOPOLOGY_PDI,
                found=f"a switch that reports PDI {_shown(switch.opaque.switch_pdis)}",
                wanted=f"{switch.pdi.hex()}, as its certificate has it",
            )
        named = frozenset(switch.opaque.gpu_pdis)
        if named != presented:
            raise NotAuthentic(
                Reason.GPU_TOPOLOGY_GPUS,
                found=f"switch {switch.pdi.hex()}, which differs from the GPUs in {_shown(named ^ presented)}",
                wanted="each switch to name exactly the GPUs presented",
            )


def _name(mode: GpuMode | None) -> str:
    return "unknown" if mode is None else mode


def _shown(values: Iterable[bytes]) -> str:
    listed = sorted(value[:8].hex() for value in values)
    return ", ".join(listed[:_SHOWN]) + ("…" if len(listed) > _SHOWN else "")
