"""`attestd policy measure-snp`: a genuine measurement, and firmware made here from end to end."""

import json
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256, sha384
from pathlib import Path
from struct import pack
from typing import Any, Final
from uuid import UUID

import pytest
from sevsnpmeasure.gctx import GCTX
from sevsnpmeasure.guest import snp_update_metadata_pages
from sevsnpmeasure.ovmf import OVMF, OvmfSevMetadataSectionDesc
from sevsnpmeasure.sev_hashes import SevHashes
from sevsnpmeasure.sev_mode import SevMode
from sevsnpmeasure.vcpu_types import CPU_SIGS
from sevsnpmeasure.vmm_types import VMMType
from sevsnpmeasure.vmsa import VMSA

from attestd.cli import measure
from tests.evidence import EVIDENCE

Run = Callable[..., tuple[int, Any]]
Terminal = Callable[..., tuple[int, str]]


def test_genuine_measurement() -> None:
    """What the package computes of the published inputs is what the hardware reported."""
    path = EVIDENCE / "snp/launch-measurement/qemu-kernel-hashes.json"
    if not path.is_file():
        pytest.skip(f"no evidence at {EVIDENCE}: {path.name} not seen")
    document = json.loads(path.read_bytes())
    inputs = document["inputs"]
    # The files are not published, only their hashes: they go where reading the files would have put them.
    firmware = OVMF.__new__(OVMF)
    firmware._table = {OVMF.SEV_HASH_TABLE_RV_GUID: inputs["sev_hashes_table_gpa"].to_bytes(4, "little")}
    firmware._metadata_items = [
        OvmfSevMetadataSectionDesc(section["gpa"], section["size"], section["section_type"])
        for section in inputs["ovmf_sections"]
    ]
    hashes = SevHashes.__new__(SevHashes)
    hashes.kernel_hash, hashes.initrd_hash = (bytes.fromhex(inputs[f"{name}_hash"]) for name in ("kernel", "initrd"))
    hashes.cmdline_hash = sha256(inputs["base_cmdline"].encode() + b"\0").digest()
    launch = GCTX(seed=bytes.fromhex(inputs["ovmf_hash"]))
    snp_update_metadata_pages(launch, firmware, hashes, VMMType.QEMU)
    processor = CPU_SIGS[inputs["vcpu_type"]]
    for page in VMSA(SevMode.SEV_SNP, inputs["sev_es_reset_eip"], processor, inputs["guest_features"]).pages(
        inputs["vcpus"]
    ):
        launch.update_vmsa_page(page)
    assert launch.hex_ld() == document["expected_measurement"]
    real = json.loads((EVIDENCE / "snp" / document["matches_real_report"] / "expected.json").read_bytes())
    assert launch.hex_ld() == real["report"]["measurement"]


# ---------------------------------------------------------------------------------------------------------------------
# Firmware with a GUID table and SEV metadata, and its measurement from the tables of AMD's specification

PAGE: Final = 4096
RESET_EIP: Final = 0x80B004
HASHES_GPA: Final = 0x810C00
SEC_MEM, SECRETS, CPUID, KERNEL_HASHES = 1, 2, 3, 0x10
SECTIONS: Final = (
    (0x800000, 2 * PAGE, SEC_MEM),
    (0x80D000, PAGE, SECRETS),
    (0x80E000, PAGE, CPUID),
    (0x810000, PAGE, KERNEL_HASHES),
)
KERNEL, INITRD, APPEND = b"kernel", b"initrd", "console=ttyS0"


def guid(text: str) -> bytes:
    return UUID(text).bytes_le


@dataclass(frozen=True)
class Firmware:
    """An image that ends at 4 GiB; by default it is as it should be."""

    sections: tuple[tuple[int, int, int], ...] | None = SECTIONS
    signature: bytes = b"ASEV"
    hashes: bool = True
    reset_eip: int = RESET_EIP
    size: int = 2 * PAGE

    def encode(self) -> bytes:
        metadata = b"".join(pack("<III", *section) for section in self.sections or ())
        metadata = self.signature + pack("<III", 16 + len(metadata), 1, len(self.sections or ())) + metadata
        offset = self.size - 16
        entries = [(self.reset_eip, "00f771de-1a7e-4fcb-890e-68c77e2fb44e")]
        if self.sections is not None:
            entries.append((offset, "dc886566-984a-4798-a75e-5585a7bf67cc"))
        if self.hashes:
            entries.append((HASHES_GPA, "7255371f-3a3b-4b04-927b-1da6efa8d454"))
        table = b"".join(pack("<IH", value, 22) + guid(name) for value, name in entries)
        table += pack("<H", len(table) + 18) + guid("96b582de-1fb2-45f7-baea-a366c55a082d")
        body = bytes(16) + metadata
        return body + b"\x90" * (self.size - len(body) - len(table) - 32) + table + bytes(32)


class Launch:
    """The launch digest (SEV-SNP firmware ABI, 8.17.2): SHA-384 over PAGE_INFO, page by page."""

    def __init__(self) -> None:
        self.digest = bytes(48)

    def add(self, kind: int, address: int, contents: bytes | None = None) -> None:
        page = bytes(48) if contents is None else sha384(contents).digest()
        self.digest = sha384(self.digest + page + pack("<HBBIQ", 0x70, kind, 0, 0, address)).digest()


def hash_table(kernel: bytes, initrd: bytes, append: str) -> bytes:
    entries = (
        ("97d02dd8-bd20-4c94-aa78-e7714d36ab2a", append.encode() + b"\0"),
        ("44baf731-3a2f-4bd7-9af1-41e29169781d", initrd),
        ("4de79437-abd2-427f-b835-d5b172d2045b", kernel),
    )
    table = b"".join(guid(name) + pack("<H", 50) + sha256(raw).digest() for name, raw in entries)
    return guid("9438d606-4f22-4cc9-b479-a793d411fd21") + pack("<H", len(table) + 18) + table


def expected(*, vcpus: int, vcpu_type: str | None, booted: bool, features: int = 1, vmm: VMMType = VMMType.QEMU) -> str:
    launch, firmware = Launch(), Firmware().encode()
    for offset in range(0, len(firmware), PAGE):
        launch.add(1, 2**32 - len(firmware) + offset, firmware[offset : offset + PAGE])
    for address, size, kind in SECTIONS:
        if kind == KERNEL_HASHES and booted:
            table = hash_table(KERNEL, INITRD, APPEND)
            launch.add(1, address, bytes(HASHES_GPA - address) + table.ljust(PAGE - HASHES_GPA + address, b"\0"))
            continue
        for page in range(address, address + size, PAGE):
            launch.add({SEC_MEM: 3, SECRETS: 5, CPUID: 6, KERNEL_HASHES: 3}[kind], page)
    processor = CPU_SIGS[vcpu_type] if vcpu_type else 0
    for vmsa in VMSA(SevMode.SEV_SNP, RESET_EIP, processor, features, vmm).pages(vcpus):
        launch.add(2, 0xFFFFFFFFF000, vmsa)
    return launch.digest.hex()


@pytest.fixture
def started(tmp_path: Path) -> list[object]:
    """Arguments of a measurement that succeeds."""
    for name, raw in (("ovmf.fd", Firmware().encode()), ("vmlinuz", KERNEL), ("initrd.img", INITRD)):
        (tmp_path / name).write_bytes(raw)
    return [
        *("policy", "measure-snp", "--ovmf", tmp_path / "ovmf.fd", "--vcpus", 2, "--vcpu-type", "EPYC-Genoa"),
        *("--kernel", tmp_path / "vmlinuz", "--initrd", tmp_path / "initrd.img", "--append", APPEND),
    ]


def test_files(attestd: Run, started: list[object]) -> None:
    status, shown = attestd(*started)
    assert status == 0
    assert shown == {
        "measurement": expected(vcpus=2, vcpu_type="EPYC-Genoa", booted=True),
        "ovmf_sha256": sha256(Firmware().encode()).hexdigest(),
        "kernel_sha256": sha256(KERNEL).hexdigest(),
        "initrd_sha256": sha256(INITRD).hexdigest(),
        "append": APPEND,
        "vcpus": 2,
        "vcpu_type": "EPYC-Genoa",
        "vmm": "qemu",
        "guest_features": "0x1",
        "policy": f'measurement = "{shown["measurement"]}"',
    }
    assert tomllib.loads(shown["policy"]) == {"measurement": shown["measurement"]}


def test_firmware_alone(attestd: Run, started: list[object]) -> None:
    _, shown = attestd(*started[:8])
    assert shown["measurement"] == expected(vcpus=2, vcpu_type="EPYC-Genoa", booted=False)
    assert (shown["kernel_sha256"], shown["append"]) == (None, None)


@pytest.mark.parametrize("changes", [{"vcpus": 3}, {"vcpu_type": "EPYC-Milan"}, {"guest_features": "0x21"}])
def test_each_option_changes_it(attestd: Run, started: list[object], changes: dict[str, object]) -> None:
    options = [part for name, value in changes.items() for part in (f"--{name.replace('_', '-')}", value)]
    wanted: dict[str, Any] = {"vcpus": 2, "vcpu_type": "EPYC-Genoa", **changes}
    features = int(str(wanted.pop("guest_features", "0x1")), 0)
    _, shown = attestd(*started, *options)
    assert shown["measurement"] == expected(**wanted, booted=True, features=features)


@pytest.mark.parametrize("vmm", ["gce", "ec2"])
def test_other_hypervisors(attestd: Run, started: list[object], vmm: str) -> None:
    status, shown = attestd(*started[:6], "--vmm", vmm)
    assert (status, shown["vmm"], shown["vcpu_type"]) == (0, vmm, None)
    others = {expected(vcpus=2, vcpu_type=None, booted=False), attestd(*started[:8])[1]["measurement"]}
    assert shown["measurement"] not in others


def test_table_on_a_terminal(on_terminal: Terminal, started: list[object]) -> None:
    status, shown = on_terminal(*started)
    assert status == 0
    assert f'measurement = "{expected(vcpus=2, vcpu_type="EPYC-Genoa", booted=True)}"' in shown
    assert not shown.startswith("{")
    assert on_terminal(*started, "--json")[1].startswith("{")


# ---------------------------------------------------------------------------------------------------------------------
# Refusals


def test_package_is_not_installed(attestd: Run, started: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sevsnpmeasure.guest", None)
    status, complaint = attestd(*started)
    assert status == 1
    assert "[measure.package]" in complaint
    assert "pip install 'attestd[measure]'" in complaint


@pytest.mark.parametrize(
    "firmware",
    [
        Firmware(sections=None).encode(),
        Firmware(sections=((0x80E000, PAGE, CPUID),)).encode(),
        Firmware(sections=(*SECTIONS, (0x820000, PAGE, 0x99))).encode(),
        Firmware(sections=((0x80D000, PAGE, SECRETS), (0x820000, PAGE + 1, SEC_MEM))).encode(),
        Firmware(sections=SECTIONS[:3]).encode(),  # no place for the hashes of the kernel
        Firmware(hashes=False).encode(),
        Firmware(signature=b"ASEW").encode(),
        Firmware(reset_eip=0).encode(),  # no start for the second vCPU
        Firmware(size=PAGE + 1).encode(),
        Firmware().encode()[:-1],
        bytes(2 * PAGE),
        b"\0",
        b"",
    ],
)
def test_firmware_that_is_none(attestd: Run, started: list[object], firmware: bytes) -> None:
    path = Path(str(started[3]))
    path.write_bytes(firmware)
    status, complaint = attestd(*started)
    assert status == 1
    assert "[measure.input]" in complaint


@pytest.mark.parametrize("number", [3, 9, 11])
def test_file_is_not_there(attestd: Run, started: list[object], tmp_path: Path, number: int) -> None:
    started[number] = tmp_path / "absent"
    status, complaint = attestd(*started)
    assert status == 1
    assert f"{tmp_path / 'absent'}: No such file or directory" in complaint


def test_folder_and_device(attestd: Run, started: list[object], tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/zero")):
        started[9] = path
        status, complaint = attestd(*started)
        assert (status, "[measure.input]" in complaint) == (1, True)


@pytest.mark.parametrize(("name", "number"), [("MAX_FIRMWARE_SIZE", 3), ("MAX_BOOT_FILE_SIZE", 9)])
def test_file_is_too_large(
    attestd: Run, started: list[object], monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    size = Path(str(started[number])).stat().st_size
    monkeypatch.setattr(measure, name, size)
    assert attestd(*started)[0] == 0
    monkeypatch.setattr(measure, name, size - 1)
    status, complaint = attestd(*started)
    assert (status, "[measure.input]" in complaint) == (1, True)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        (["--initrd", "x"], 8),
        (["--append", "x"], 8),
        (["--append", ""], 8),
        ([], 6),  # no type of vCPU
        (["--vmm", "gce"], 12),
        (["--vcpu-type", "EPYC-Zen"], 12),
    ],
)
def test_options_that_do_not_fit(attestd: Run, started: list[object], options: list[str], kept: int) -> None:
    status, complaint = attestd(*started[:kept], *options)
    assert status == 1
    assert "[measure.input]" in complaint


@pytest.mark.parametrize(
    "options", [["--vcpus", "0"], ["--vcpus", "4097"], ["--vcpus", "two"], ["--guest-features", "0x10000000000000000"]]
)
def test_numbers_out_of_range(started: list[object], run_process: Callable[..., Any], options: list[str]) -> None:
    finished = run_process(*started, *options)
    assert finished.returncode == 1
    assert "wanted an integer from" in finished.stderr
