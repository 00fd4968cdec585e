"""Reports from their bytes: each rule of the layout, and each field, broken alone (N04, N05)."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestd.claims import GpuMode, OpaqueFields
from attestd.errors import Malformed, Reason
from attestd.nvgpu.spdm import MAX_MEASUREMENTS, MAX_OPAQUE_SIZE, MAX_REPORT_SIZE, parse_report
from attestd.simulator import Block, GpuAttester, OpaqueField, SpdmReport, flip, opaque_field
from attestd.simulator.spdm import (
    BOARD_ID,
    CHIP_INFO,
    CHIP_SKU,
    DRIVER_VERSION,
    FEATURE_FLAG,
    FWID,
    NVDEC0_STATUS,
    OPAQUE_DATA_VERSION,
    PROJECT,
    PROJECT_SKU,
    PROTECTED_PCIE_STATUS,
    SWITCH_GPU_PDIS,
    SWITCH_PDI,
    VBIOS_VERSION,
)
from tests.nvgpu.baseline import BLACKWELL, DEVICES, GPU, REPORT, SWITCH, with_opaque
from tests.refusals import malformed

SIGNED = REPORT[:-96]
BlocksEdit = Callable[[tuple[Block, ...]], Iterable[Block]]


def opaque(kind: int, data: bytes | None, gpu: GpuAttester = GPU) -> OpaqueFields:
    """Parse a report in which the field of that type has other data, or is left out."""
    return parse_report(gpu.report(SpdmReport(edit_opaque=opaque_field(kind, data)))).opaque


# ---------------------------------------------------------------------------------------------------------------------
# The whole


def test_report_of_a_gpu() -> None:
    report = parse_report(REPORT)
    assert (report.nonce, report.slot) == (SpdmReport().nonce, 0)
    assert report.measurements == tuple(block.value for block in GPU.gpu.blocks)
    assert report.opaque == OpaqueFields(
        vbios_version="96.00.CF.00.01",
        driver_version="580.95.05",
        project="G520",
        project_sku="0200",
        chip_sku="885",
        nvdec0_status=False,
        chip_info=None,
        board_id=b"\x37\x04\0\0",
        fwid=GPU.gpu.fwid,
        protected_pcie_status=False,
        feature_flag=GpuMode.SPT,
        switch_pdis=(),
        gpu_pdis=(),
        opaque_version=1,
        unknown_types=(),
    )
    assert report.signed + report.signature == REPORT
    assert len(report.signature) == 96
    assert not report.is_switch


def test_report_of_a_switch() -> None:
    report = parse_report(SWITCH.report())
    assert report.is_switch
    assert len(report.measurements) == 31
    assert report.opaque.vbios_version == "96.10.55.00.01"
    assert report.opaque.switch_pdis == (SWITCH.gpu.pdi,)
    assert report.opaque.gpu_pdis == SWITCH.gpu.gpu_pdis
    assert not any(report.opaque[1:11])


def test_evidence_id_is_of_what_is_signed() -> None:
    report = parse_report(REPORT)
    assert report.evidence_id == sha256(b"attestd/evidence-id/v1/gpu-report\0" + SIGNED).digest()
    assert parse_report(flip(-1)(REPORT)).evidence_id == report.evidence_id
    assert parse_report(flip(4)(REPORT)).evidence_id != report.evidence_id


def test_slot() -> None:
    assert parse_report(GPU.report(SpdmReport(slot=7))).slot == 7


@pytest.mark.parametrize("gpu", DEVICES, ids=["Hopper", "Blackwell", "LS10"])
def test_every_length(gpu: GpuAttester) -> None:
    raw = gpu.report()
    for size in range(len(raw)):
        with malformed(Reason.GPU_REPORT_SIZE):
            parse_report(raw[:size])
    for tail in (b"\0", bytes(8), raw, bytes(MAX_REPORT_SIZE)):
        with malformed(Reason.GPU_REPORT_SIZE):
            parse_report(raw + tail)


def overwritten(at: int, new: bytes) -> bytes:
    return REPORT[:at] + new + REPORT[at + len(new) :]


@given(st.binary(max_size=300) | st.builds(overwritten, st.integers(0, len(REPORT)), st.binary(max_size=16)))
def test_nothing_but_malformed_is_raised(raw: bytes) -> None:
    with suppress(Malformed):
        parse_report(raw)


# ---------------------------------------------------------------------------------------------------------------------
# Request and response


@pytest.mark.parametrize("version", [0x00, 0x10, 0x12, 0x13, 0xFF])
def test_version(version: int) -> None:
    for form in (SpdmReport(request_version=version), SpdmReport(version=version)):
        with malformed(Reason.GPU_SPDM_VERSION):
            parse_report(GPU.report(form))


@pytest.mark.parametrize(
    "form",
    [
        SpdmReport(request_code=0xE1),
        SpdmReport(request_param1=0),  # no signature asked for
        SpdmReport(request_param1=2),  # raw bit streams
        SpdmReport(request_param1=3),
        SpdmReport(request_param2=0),  # how many there are
        SpdmReport(request_param2=9),  # one of them
        SpdmReport(code=0x7F),  # ERROR
        SpdmReport(code=0xE0),
    ],
    ids=str,
)
def test_message(form: SpdmReport) -> None:
    with malformed(Reason.GPU_SPDM_MESSAGE):
        parse_report(GPU.report(form))


# ---------------------------------------------------------------------------------------------------------------------
# Measurement record


@pytest.mark.parametrize("count", [0, 1, 63, 65, 255])
def test_number_of_blocks(count: int) -> None:
    with malformed(Reason.GPU_MEASUREMENT_RECORD):
        parse_report(GPU.report(SpdmReport(number_of_blocks=count)))


@pytest.mark.parametrize("step", [-1, 1, -55, 55])
def test_length_of_the_record(step: int) -> None:
    """Where the record ends otherwise, so does all behind it; the opaque length then stands elsewhere."""
    length = 64 * 55 + step
    with malformed(Reason.GPU_REPORT_SIZE, Reason.GPU_MEASUREMENT_RECORD):
        parse_report(GPU.report(SpdmReport(record_length=length)))
    with malformed(Reason.GPU_REPORT_SIZE):
        parse_report(GPU.report(SpdmReport(record_length=0xFFFFFF)))


def test_length_of_the_record_alone() -> None:
    """All the rest fits the wrong length: one block less than there are bytes for."""
    with malformed(Reason.GPU_MEASUREMENT_RECORD):
        parse_report(GPU.report(SpdmReport(edit_blocks=lambda blocks: blocks[:-1], number_of_blocks=64)))
    with malformed(Reason.GPU_MEASUREMENT_RECORD):
        parse_report(GPU.report(SpdmReport(edit_blocks=lambda blocks: ())))


def one_more(blocks: tuple[Block, ...]) -> Iterable[Block]:
    return *blocks, Block(index=65, value=bytes(48))


def changed(place: int, **fields: object) -> BlocksEdit:
    """Return an edit of one block."""
    return lambda blocks: [
        replace(block, **fields) if number == place else block  # type: ignore[arg-type]
        for number, block in enumerate(blocks)
    ]


@pytest.mark.parametrize(
    "edit",
    [
        one_more,
        lambda blocks: blocks[1:],  # a gap at the front
        lambda blocks: (*blocks[:9], *blocks[10:]),
        lambda blocks: (blocks[1], blocks[0], *blocks[2:]),
        changed(0, index=0),
        changed(63, index=1),
        changed(9, index=9),
        changed(63, index=255),
        changed(9, specification=0),
        changed(9, specification=2),
        changed(9, value_type=0x81),  # raw
        changed(9, value_type=0),
        changed(9, size=50),
        changed(9, size=52),
        changed(9, value_size=47),
        changed(9, value_size=49),
        changed(9, value=bytes(32)),
        changed(9, value=bytes(64)),
        changed(63, value=b""),
    ],
)
def test_blocks(edit: BlocksEdit) -> None:
    with malformed(Reason.GPU_MEASUREMENT_RECORD):
        parse_report(GPU.report(SpdmReport(edit_blocks=edit)))


def test_fewer_blocks_are_a_report_of_fewer() -> None:
    assert len(parse_report(GPU.report(SpdmReport(edit_blocks=lambda blocks: blocks[:3]))).measurements) == 3


# ---------------------------------------------------------------------------------------------------------------------
# Opaque data


@pytest.mark.parametrize("step", [-1, 1, 1000])
def test_length_of_the_opaque_data(step: int) -> None:
    length = len(b"".join(field.encode() for field in GPU.gpu.opaque)) + step
    for wrong in (length, 0, 0xFFFF):
        with malformed(Reason.GPU_REPORT_SIZE):
            parse_report(GPU.report(SpdmReport(opaque_length=wrong)))


def test_more_opaque_data_than_a_report_has() -> None:
    room = MAX_OPAQUE_SIZE - sum(len(field.encode()) for field in GPU.gpu.opaque) - 4
    most = with_opaque(OpaqueField(type=200, data=bytes(room)))
    assert (len(most), len(parse_report(most).measurements)) == (MAX_REPORT_SIZE, MAX_MEASUREMENTS)
    for size in (room + 1, 0xF000):
        with malformed(Reason.GPU_REPORT_SIZE):
            parse_report(with_opaque(OpaqueField(type=200, data=bytes(size))))


@pytest.mark.parametrize("size", [0, 3, 5, 9, 0xFFFF])
def test_length_of_a_field(size: int) -> None:
    with malformed(Reason.GPU_OPAQUE_DATA):
        parse_report(with_opaque(OpaqueField(type=200, data=b"\xff" * 4, size=size)))


@pytest.mark.parametrize("tail", [b"\0", b"\xc8\0", b"\xc8\0\0"])
def test_end_inside_of_a_header(tail: bytes) -> None:
    def edit(fields: tuple[OpaqueField, ...]) -> Iterable[OpaqueField]:
        return *fields[:-1], replace(fields[-1], data=fields[-1].data + tail, size=len(fields[-1].data))

    with malformed(Reason.GPU_OPAQUE_DATA):
        parse_report(GPU.report(SpdmReport(edit_opaque=edit)))


@pytest.mark.parametrize("kind", [field.type for field in GPU.gpu.opaque])
def test_no_field_twice(kind: int) -> None:
    again = next(field for field in GPU.gpu.opaque if field.type == kind)
    with malformed(Reason.GPU_OPAQUE_DATA):
        parse_report(with_opaque(again))


@pytest.mark.parametrize(
    "kind", [VBIOS_VERSION, DRIVER_VERSION, NVDEC0_STATUS, CHIP_SKU, PROJECT, PROJECT_SKU], ids=str
)
def test_what_every_gpu_says(kind: int) -> None:
    with malformed(Reason.GPU_OPAQUE_DATA):
        opaque(kind, None)


@pytest.mark.parametrize("kind", [DRIVER_VERSION, NVDEC0_STATUS, CHIP_SKU, PROJECT, PROJECT_SKU], ids=str)
def test_what_no_switch_says(kind: int) -> None:
    data = b"\x55" if kind == NVDEC0_STATUS else b"885\0"
    with malformed(Reason.GPU_OPAQUE_DATA):
        opaque(kind, data, SWITCH)


def test_no_opaque_data() -> None:
    with malformed(Reason.GPU_OPAQUE_DATA):
        parse_report(GPU.report(SpdmReport(edit_opaque=lambda fields: ())))


@pytest.mark.parametrize("kind", [BOARD_ID, FWID, PROTECTED_PCIE_STATUS, OPAQUE_DATA_VERSION, FEATURE_FLAG], ids=str)
def test_what_older_firmware_does_not_say(kind: int) -> None:
    member = {
        BOARD_ID: "board_id",
        FWID: "fwid",
        PROTECTED_PCIE_STATUS: "protected_pcie_status",
        OPAQUE_DATA_VERSION: "opaque_version",
        FEATURE_FLAG: "feature_flag",
    }[kind]
    assert getattr(opaque(kind, None), member) is None


@pytest.mark.parametrize(
    "text",
    [b"", b"\0", b"\0\0\0", b"580.95\0.05", b"580/95\0", b"580 95", b"..\\x\0", b"580.\xc3\xa9", b"5" * 33, b"580%2f"],
)
@pytest.mark.parametrize("kind", [DRIVER_VERSION, CHIP_SKU, PROJECT, PROJECT_SKU, CHIP_INFO], ids=str)
def test_texts(kind: int, text: bytes) -> None:
    """Names of RIMs, and so of files and in URLs, are made of these."""
    with malformed(Reason.GPU_OPAQUE_DATA):
        opaque(kind, text)


def test_texts_are_padded() -> None:
    assert opaque(CHIP_SKU, b"882" + bytes(6)).chip_sku == "882"
    assert opaque(CHIP_SKU, b"882").chip_sku == "882"
    assert opaque(DRIVER_VERSION, b"5" * 32 + b"\0").driver_version == "5" * 32
    assert opaque(CHIP_INFO, b"GB100\0", BLACKWELL).chip_info == "GB100"


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        (NVDEC0_STATUS, (0, 2)),
        (PROTECTED_PCIE_STATUS, (0, 2)),
        (BOARD_ID, (0, 3, 5)),
        (FWID, (0, 47, 49, 64)),
        (SWITCH_PDI, (0, 1, 7, 9, 16, 136, 152)),
        (SWITCH_GPU_PDIS, (0, 64, 127, 129)),
        (OPAQUE_DATA_VERSION, (0, 1, 3)),
        (FEATURE_FLAG, (0, 1, 3, 4)),
    ],
)
def test_sizes(kind: int, sizes: tuple[int, ...]) -> None:
    for size in sizes:
        with malformed(Reason.GPU_OPAQUE_DATA):
            opaque(kind, b"\x55" * size)


@pytest.mark.parametrize("kind", [NVDEC0_STATUS, PROTECTED_PCIE_STATUS], ids=str)
def test_statuses(kind: int) -> None:
    found = [opaque(kind, status)[5 if kind == NVDEC0_STATUS else 9] for status in (b"\xaa", b"\x55")]
    assert found == [True, False]
    for status in (b"\0", b"\1", b"\xa5", b"\xff"):
        with malformed(Reason.GPU_OPAQUE_DATA):
            opaque(kind, status)


def test_modes() -> None:
    found = [opaque(FEATURE_FLAG, flag).feature_flag for flag in (b"\0\0", b"\1\0", b"\2\0")]
    assert found == [GpuMode.SPT, GpuMode.MPT, GpuMode.PPCIE]
    for flag in (b"\3\0", b"\0\1"):
        with malformed(Reason.GPU_OPAQUE_DATA):
            opaque(FEATURE_FLAG, flag)


def test_version_of_the_opaque_data() -> None:
    assert [opaque(OPAQUE_DATA_VERSION, version).opaque_version for version in (b"\0\0", b"\1\0")] == [0, 1]
    for version in (b"\2\0", b"\0\1", b"\xff\xff"):
        with malformed(Reason.GPU_OPAQUE_VERSION):
            opaque(OPAQUE_DATA_VERSION, version)


def test_fields_that_nothing_is_known_of() -> None:
    raw = with_opaque(OpaqueField(type=37, data=b"?"), OpaqueField(type=255, data=b""), OpaqueField(type=24, data=b""))
    assert parse_report(raw).opaque.unknown_types == (37, 255)


@pytest.mark.parametrize(
    ("data", "version"),
    [
        (bytes.fromhex("009f009601000000"), "96.00.9F.00.01"),
        (bytes.fromhex("008800970f000000"), "97.00.88.00.0F"),
        (b"96.10.55.00.01", "96.10.55.00.01"),
        (b"96.10.55.00.01\0\0", "96.10.55.00.01"),
    ],
)
def test_vbios_version(data: bytes, version: str) -> None:
    assert opaque(VBIOS_VERSION, data).vbios_version == version


@pytest.mark.parametrize(
    "data",
    [
        bytes.fromhex("009f009601010000"),  # what would that be?
        bytes.fromhex("009f009601000001"),
        bytes(7),
        bytes(9),
        b"96.10.5f.00.01",
        b"96.10.55.00",
        b"96.10.55.00.01.02",
        b"96.10.55.00.0/",
    ],
)
def test_vbios_version_of_another_form(data: bytes) -> None:
    with malformed(Reason.GPU_OPAQUE_DATA):
        opaque(VBIOS_VERSION, data)


def test_pdis() -> None:
    links = tuple(bytes((link,)) * 8 for link in range(18))
    assert opaque(SWITCH_PDI, b"".join(links)).switch_pdis == links
    gpus = tuple(bytes((gpu,)) * 8 for gpu in range(8))
    assert opaque(SWITCH_GPU_PDIS, b"".join(gpus) + b"p" * 64, SWITCH).gpu_pdis == gpus
