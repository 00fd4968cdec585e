"""Devices of one machine: a machine of our own in which one thing at a time is wrong, and the recorded bundles."""

import base64
import json
from datetime import datetime
from typing import Any, Final

import pytest

from attestd.claims import GpuArch, GpuMode, OpaqueFields
from attestd.codec import load_pem
from attestd.errors import Reason
from attestd.nvgpu.device import authenticate_device
from attestd.nvgpu.spdm import parse_report
from attestd.nvgpu.topology import Member, Topology, gpu_mode, verify_topology
from attestd.signature import verify_p384
from attestd.x509 import TrustAnchors
from tests.evidence import EVIDENCE, ROOT
from tests.refusals import not_authentic

GPU_PDIS: Final = tuple(bytes.fromhex(f"a{number}00000000000011") for number in range(8))
SWITCH_PDIS: Final = tuple(bytes.fromhex(f"b{number}00000000000022") for number in range(4))
STRANGER: Final = bytes.fromhex("cc00000000000033")
LINKS: Final = 18

_NOTHING: Final = OpaqueFields(
    vbios_version="96.00.A5.00.01",
    driver_version=None,
    project=None,
    project_sku=None,
    chip_sku=None,
    nvdec0_status=None,
    chip_info=None,
    board_id=None,
    fwid=None,
    protected_pcie_status=None,
    feature_flag=None,
    switch_pdis=(),
    gpu_pdis=(),
    opaque_version=None,
    unknown_types=(),
)
PROTECTED: Final = _NOTHING._replace(feature_flag=GpuMode.PPCIE, protected_pcie_status=True)


def links(*pdis: bytes) -> tuple[bytes, ...]:
    """What a GPU reports: the switch at the end of each link, its bytes reversed."""
    return tuple(pdis[link % len(pdis)][::-1] for link in range(LINKS))


def member(arch: GpuArch, pdi: bytes, opaque: OpaqueFields) -> Member:
    return Member(arch, b"key of " + pdi, pdi, opaque)


def gpu(number: int, *switches: bytes) -> Member:
    return member(GpuArch.HOPPER, GPU_PDIS[number], PROTECTED._replace(switch_pdis=links(*(switches or SWITCH_PDIS))))


def switch(number: int, *gpus: bytes) -> Member:
    pdi = SWITCH_PDIS[number]
    return member(GpuArch.LS10, pdi, _NOTHING._replace(switch_pdis=(pdi,), gpu_pdis=gpus or GPU_PDIS))


def changed(one: Member, **opaque: Any) -> Member:
    return one._replace(opaque=one.opaque._replace(**opaque))


def alone(number: int, mode: GpuMode | None, arch: GpuArch = GpuArch.HOPPER) -> Member:
    """A GPU without switches."""
    return member(arch, GPU_PDIS[number], _NOTHING._replace(feature_flag=mode))


GPUS: Final = tuple(gpu(number) for number in range(8))
SWITCHES: Final = tuple(switch(number) for number in range(4))
WHOLE: Final = Topology(GpuArch.HOPPER, GpuMode.PPCIE, GPU_PDIS, SWITCH_PDIS, ())


def test_whole_machine() -> None:
    assert verify_topology([*GPUS, *SWITCHES]) == WHOLE


def test_order_is_that_of_presentation() -> None:
    backwards = WHOLE._replace(gpus=GPU_PDIS[::-1], switches=SWITCH_PDIS[::-1])
    assert verify_topology([*SWITCHES[::-1], *GPUS[::-1]]) == backwards


def test_switches_name_gpus_in_any_order_and_more_than_once() -> None:
    """Seven GPUs are seven, though a switch lists eight."""
    listed = (*GPU_PDIS[6::-1], GPU_PDIS[6])
    devices = [*GPUS[:7], *(switch(number, *listed) for number in range(4))]
    assert verify_topology(devices) == WHOLE._replace(gpus=GPU_PDIS[:7])


def test_gpus_without_their_switches() -> None:
    topology = verify_topology(GPUS[:4])
    assert topology == Topology(GpuArch.HOPPER, GpuMode.PPCIE, GPU_PDIS[:4], (), SWITCH_PDIS)


@pytest.mark.parametrize("mode", [GpuMode.SPT, GpuMode.MPT, None])
@pytest.mark.parametrize("arch", [GpuArch.HOPPER, GpuArch.BLACKWELL])
def test_gpus_that_need_no_switch(mode: GpuMode | None, arch: GpuArch) -> None:
    gpus = [alone(number, mode, arch) for number in range(2)]
    assert verify_topology(gpus) == Topology(arch, mode, GPU_PDIS[:2], (), ())
    assert verify_topology(gpus[:1]) == Topology(arch, mode, GPU_PDIS[:1], (), ())


# One device twice


@pytest.mark.parametrize(
    "devices",
    [
        (*GPUS[:7], GPUS[0], *SWITCHES),
        (*GPUS, *SWITCHES[:3], SWITCHES[0]),
        (*GPUS, GPUS[7], *SWITCHES),
        (*GPUS[:7], GPUS[7]._replace(device_id=GPUS[0].device_id), *SWITCHES),
        (*GPUS[:7], GPUS[7]._replace(pdi=GPUS[0].pdi), *SWITCHES),
        (alone(0, GpuMode.SPT), alone(0, GpuMode.SPT)),
    ],
    ids=["a GPU for another", "a switch for another", "a GPU more", "one key", "one PDI", "without switches"],
)
def test_duplicate_device(devices: tuple[Member, ...]) -> None:
    with not_authentic(Reason.GPU_DUPLICATE_DEVICE):
        verify_topology(devices)


# Architectures


@pytest.mark.parametrize(
    "devices",
    [
        (),
        SWITCHES,
        (alone(0, GpuMode.MPT), alone(1, GpuMode.MPT, GpuArch.BLACKWELL)),
        (*GPUS[:7], GPUS[7]._replace(arch=GpuArch.BLACKWELL), *SWITCHES),
        (*(one._replace(arch=GpuArch.BLACKWELL) for one in GPUS), *SWITCHES),
    ],
    ids=["nothing", "switches alone", "mixed", "mixed beside switches", "switches of another machine"],
)
def test_architectures(devices: tuple[Member, ...]) -> None:
    with not_authentic(Reason.GPU_TOPOLOGY_ARCHITECTURE):
        verify_topology(devices)


# Modes


@pytest.mark.parametrize(
    ("flag", "protected", "mode"),
    [
        (None, None, None),
        (None, False, None),
        (None, True, GpuMode.PPCIE),
        (GpuMode.SPT, None, GpuMode.SPT),
        (GpuMode.SPT, False, GpuMode.SPT),
        (GpuMode.MPT, None, GpuMode.MPT),
        (GpuMode.MPT, False, GpuMode.MPT),
        (GpuMode.PPCIE, None, GpuMode.PPCIE),
        (GpuMode.PPCIE, True, GpuMode.PPCIE),
    ],
)
def test_mode(flag: GpuMode | None, protected: bool | None, mode: GpuMode | None) -> None:
    assert gpu_mode(_NOTHING._replace(feature_flag=flag, protected_pcie_status=protected)) is mode


@pytest.mark.parametrize(("flag", "protected"), [(GpuMode.SPT, True), (GpuMode.MPT, True), (GpuMode.PPCIE, False)])
def test_modes_that_contradict_each_other(flag: GpuMode, protected: bool) -> None:
    with not_authentic(Reason.GPU_TOPOLOGY_MODE):
        verify_topology([changed(alone(0, flag), protected_pcie_status=protected)])


@pytest.mark.parametrize("other", [GpuMode.MPT, GpuMode.PPCIE, None])
def test_mixed_modes(other: GpuMode | None) -> None:
    with not_authentic(Reason.GPU_TOPOLOGY_MODE):
        verify_topology([alone(0, GpuMode.SPT), alone(1, other)])


def test_mixed_modes_beside_switches() -> None:
    other = changed(GPUS[7], feature_flag=GpuMode.MPT, protected_pcie_status=False)
    with not_authentic(Reason.GPU_TOPOLOGY_MODE):
        verify_topology([*GPUS[:7], other, *SWITCHES])


@pytest.mark.parametrize("mode", [GpuMode.SPT, GpuMode.MPT, None])
def test_switches_beside_gpus_in_another_mode(mode: GpuMode | None) -> None:
    gpus = [changed(one, feature_flag=mode, protected_pcie_status=None) for one in GPUS]
    with not_authentic(Reason.GPU_TOPOLOGY_MODE):
        verify_topology([*gpus, *SWITCHES])


# What GPUs name


def test_gpus_of_two_machines() -> None:
    elsewhere = [gpu(number, STRANGER, *SWITCH_PDIS[1:]) for number in range(4, 8)]
    for devices in ([*GPUS[:4], *elsewhere], [*GPUS[:4], *elsewhere, *SWITCHES]):
        with not_authentic(Reason.GPU_TOPOLOGY_SWITCHES):
            verify_topology(devices)


def test_gpus_that_name_no_switch() -> None:
    with not_authentic(Reason.GPU_TOPOLOGY_SWITCHES):
        verify_topology([alone(0, GpuMode.PPCIE)])


@pytest.mark.parametrize(
    "named",
    [SWITCH_PDIS[:3], (*SWITCH_PDIS, STRANGER), (*SWITCH_PDIS[:3], STRANGER), tuple(pdi[::-1] for pdi in SWITCH_PDIS)],
    ids=["fewer", "more", "another", "not reversed"],
)
def test_gpus_that_name_other_switches(named: tuple[bytes, ...]) -> None:
    with not_authentic(Reason.GPU_TOPOLOGY_SWITCHES):
        verify_topology([*(gpu(number, *named) for number in range(8)), *SWITCHES])


def test_one_switch_is_missing() -> None:
    with not_authentic(Reason.GPU_TOPOLOGY_SWITCHES):
        verify_topology([*GPUS, *SWITCHES[:3]])


def test_link_without_a_switch() -> None:
    """Zeros are the PDI of no device."""
    with not_authentic(Reason.GPU_TOPOLOGY_SWITCHES):
        verify_topology([*(gpu(number, *SWITCH_PDIS, bytes(8)) for number in range(8)), *SWITCHES])


# What switches name


@pytest.mark.parametrize(
    "named",
    [
        GPU_PDIS[:7],
        (*GPU_PDIS[:7], STRANGER),
        (*GPU_PDIS, STRANGER),
        tuple(pdi[::-1] for pdi in GPU_PDIS),
    ],
    ids=["fewer", "another", "more", "reversed"],
)
@pytest.mark.parametrize("place", [0, 3])
def test_switch_that_names_other_gpus(named: tuple[bytes, ...], place: int) -> None:
    switches = list(SWITCHES)
    switches[place] = switch(place, *named)
    with not_authentic(Reason.GPU_TOPOLOGY_GPUS):
        verify_topology([*GPUS, *switches])


def test_switch_that_names_no_gpu() -> None:
    with not_authentic(Reason.GPU_TOPOLOGY_GPUS):
        verify_topology([*GPUS, changed(SWITCHES[0], gpu_pdis=()), *SWITCHES[1:]])


def test_one_gpu_is_missing() -> None:
    with not_authentic(Reason.GPU_TOPOLOGY_GPUS):
        verify_topology([*GPUS[:7], *SWITCHES])


@pytest.mark.parametrize(
    "reported",
    [(), (SWITCH_PDIS[1],), (SWITCH_PDIS[0][::-1],), (SWITCH_PDIS[0], SWITCH_PDIS[0])],
    ids=["none", "another switch's", "reversed", "twice"],
)
def test_switch_that_reports_another_pdi(reported: tuple[bytes, ...]) -> None:
    with not_authentic(Reason.GPU_TOPOLOGY_PDI):
        verify_topology([*GPUS, changed(SWITCHES[0], switch_pdis=reported), *SWITCHES[1:]])


# Recorded machines


def bundle(name: str) -> list[Member]:
    """Every device of a bundle, by its certificates and its report, both authenticated."""
    folder = EVIDENCE / "nvidia" / name
    if not folder.is_dir():
        pytest.skip(f"no evidence at {EVIDENCE}: {name} not seen")
    at = datetime.fromisoformat(json.loads((folder / "expected.json").read_bytes())["verify_at"])
    anchors = TrustAnchors.load_genuine(path.read_bytes() for path in sorted((ROOT / "certs/nvidia").glob("*.der")))
    members = []
    for entry in json.loads((folder / "evidence.json").read_bytes()):
        device = authenticate_device(load_pem(base64.b64decode(entry["certificate"])), anchors, at)
        report = parse_report(base64.b64decode(entry["evidence"]))
        verify_p384(device.public_key, report.signature, report.signed, Reason.GPU_OPAQUE_DATA)
        assert device.arch == entry["arch"]
        members.append(Member(device.arch, device.device_id, device.pdi, report.opaque))
    return members


def serials(name: str, start: int, stop: int) -> tuple[bytes, ...]:
    document = json.loads((EVIDENCE / "nvidia" / name / "expected.json").read_bytes())
    return tuple(bytes.fromhex(device["brom_serial_hex"])[-8:] for device in document["devices"][start:stop])


def test_recorded_machine() -> None:
    name = "bundle-ppcie-8gpu-4switch"
    expected = Topology(GpuArch.HOPPER, GpuMode.PPCIE, serials(name, 0, 8), serials(name, 8, 12), ())
    members = bundle(name)
    assert verify_topology(members) == expected
    for place, member_ in enumerate(members):
        with not_authentic(Reason.GPU_TOPOLOGY_SWITCHES if member_.arch.is_switch else Reason.GPU_TOPOLOGY_GPUS):
            verify_topology([*members[:place], *members[place + 1 :]])


def test_recorded_duplicate() -> None:
    with not_authentic(Reason.GPU_DUPLICATE_DEVICE):
        verify_topology(bundle("bundle-ppcie-duplicate-gpu"))


def test_recorded_half() -> None:
    """Four GPUs of the machine above: they fit each other, and say whose absence keeps this from being all."""
    name = "bundle-4xh100-590.12"
    topology = verify_topology(bundle(name))
    switches = serials("bundle-ppcie-8gpu-4switch", 8, 12)
    assert topology == Topology(GpuArch.HOPPER, GpuMode.PPCIE, serials(name, 0, 4), (), tuple(sorted(switches)))
