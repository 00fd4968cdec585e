"""SPDM 1.1 measurement reports of NVIDIA GPUs and NVSwitches: a pure parser. Nothing here says that a byte is true.

Source: Security Protocol and Data Model (DMTF DSP0274) 1.1, GET_MEASUREMENTS and MEASUREMENTS; the opaque data as
NVIDIA's attestation SDK reads it (nvidia.md, 4.1 and 4.2). Integers are little-endian. A report is the request, the
response, and a signature over both: what the device answers to is the nonce of the request.
"""

import re
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from struct import Struct
from typing import Final, NamedTuple

from attestd.claims import GpuMode, OpaqueFields
from attestd.errors import Malformed, Reason

# As many as a GPU has; an NVSwitch has 31.
MAX_MEASUREMENTS: Final = 64
# DSP0274, Opaque data: no more than that. Genuine ones have 288 to 579 bytes.
MAX_OPAQUE_SIZE: Final = 1024

# Request: version, code, param1, param2, nonce, slot. Response: version, code, param1, param2, blocks, record length.
_HEAD: Final = Struct("<BBBB32sB BBxxB3s")
# Index, specification, size of the rest; type of the value, size of the value. The value follows.
_BLOCK_HEAD: Final = Struct("<BBHBH")
_VALUE_SIZE: Final = 48
_BLOCK_SIZE: Final = _BLOCK_HEAD.size + _VALUE_SIZE
_FIELD: Final = Struct("<HH")
_NONCE_SIZE: Final = 32
_SIGNATURE_SIZE: Final = 96
# What stands between the measurement record and the opaque data: the responder's nonce and the opaque data's length.
_BEHIND_RECORD: Final = _NONCE_SIZE + 2

MAX_REPORT_SIZE: Final = (
    _HEAD.size + MAX_MEASUREMENTS * _BLOCK_SIZE + _BEHIND_RECORD + MAX_OPAQUE_SIZE + _SIGNATURE_SIZE
)

_SPDM_1_1: Final = 0x11
# GET_MEASUREMENTS of all measurements, with a signature. Bit 0 asks for that; the others ask for another form.
_REQUEST: Final = (0xE0, 0x01, 0xFF)
_MEASUREMENTS: Final = 0x60
# Numbered from 1; the DMTF's specification (1), and a digest (bit 7 would mean raw) of mutable firmware (1).
_BLOCK_HEADS: Final = tuple(
    _BLOCK_HEAD.pack(index, 1, _BLOCK_SIZE - 4, 1, _VALUE_SIZE) for index in range(1, MAX_MEASUREMENTS + 1)
)

# Types of opaque fields. Those that are not named here have no meaning for a verdict.
_DRIVER_VERSION: Final = 3
_VBIOS_VERSION: Final = 6
_NVDEC0_STATUS: Final = 11
_BOARD_ID: Final = 14
_CHIP_SKU: Final = 15
_PROJECT: Final = 17
_PROJECT_SKU: Final = 18
_FWID: Final = 20
_PROTECTED_PCIE_STATUS: Final = 21
_SWITCH_PDI: Final = 22
_SWITCH_GPU_PDIS: Final = 26
_OPAQUE_DATA_VERSION: Final = 34
_CHIP_INFO: Final = 35
_FEATURE_FLAG: Final = 36
_KNOWN_TYPES: Final = frozenset({*range(1, 28), 32, 33, 34, 35, 36})
# What every GPU says of itself and no NVSwitch does.
_OF_GPUS: Final = (_DRIVER_VERSION, _NVDEC0_STATUS, _CHIP_SKU, _PROJECT, _PROJECT_SKU)

# The latest version of the opaque data whose fields are known.
_MAX_OPAQUE_VERSION: Final = 1
_GPU_VBIOS_VERSION_SIZE: Final = 8
_PDI_SIZE: Final = 8
_MAX_LINKS: Final = 18  # NVLinks of a GPU; type 22 names the switch at the end of each
_GPUS_OF_SWITCH: Final = 8  # type 26 names eight GPUs and, in as many bytes again, their ports

_STATUS: Final = {b"\xaa": True, b"\x55": False}
_MODES: Final = dict(enumerate(GpuMode))
# Names of RIM documents are made of these texts.
_TEXT: Final = re.compile(rb"[0-9A-Za-z._-]{1,32}")
_VERSION: Final = re.compile(rb"[0-9A-F]{2}(?:\.[0-9A-F]{2}){4}")


class GpuReport(NamedTuple):
    """A report that parses. Not evidence of anything yet."""

    nonce: bytes  # 32 bytes, of the request: what the verifier asked with
    slot: int  # the certificate slot that the request names
    measurements: tuple[bytes, ...]  # 48 bytes each; the first is SPDM's index 1 and the golden value's index 0
    opaque: OpaqueFields
    signed: bytes  # request and response without signature
    signature: bytes  # r ‖ s over `signed`, 48 bytes each, big-endian

    @property
    def is_switch(self) -> bool:
        """Whether it is that of an NVSwitch, by its fields."""
        return self.opaque.driver_version is None

    @property
    def evidence_id(self) -> bytes:
        """SHA-256, domain-separated, over the signed bytes alone: (r, n - s) does not change it."""
        return sha256(b"attestd/evidence-id/v1/gpu-report\0" + self.signed).digest()


def parse_report(raw: bytes) -> GpuReport:
    """Parse request, response and signature, 96 bytes, with nothing behind them.

    Raises `Malformed`: `gpu.report_size`, `gpu.spdm_version`, `gpu.spdm_message`, `gpu.measurement_record`,
    `gpu.opaque_data`, `gpu.opaque_version`.
    """
    if not _HEAD.size + _BEHIND_RECORD + _SIGNATURE_SIZE <= len(raw) <= MAX_REPORT_SIZE:
        raise _wrong_size(f"{len(raw)} bytes", f"at most {MAX_REPORT_SIZE} bytes of request, response and signature")
    version, code, attributes, operation, nonce, slot, answered, answer, count, length = _HEAD.unpack_from(raw)
    if version != _SPDM_1_1 or answered != _SPDM_1_1:
        # Later versions sign another form of these bytes (DSP0274 1.2, combined_spdm_prefix).
        raise Malformed(
            Reason.GPU_SPDM_VERSION, found=f"{version:#04x}, answered by {answered:#04x}", wanted="SPDM 1.1 in both"
        )
    if (code, attributes, operation) != _REQUEST or answer != _MEASUREMENTS:
        raise Malformed(
            Reason.GPU_SPDM_MESSAGE,
            found=f"code {code:#04x} with {attributes:#04x}, {operation:#04x}, answered by {answer:#04x}",
            wanted="GET_MEASUREMENTS (0xe0) of all (0xff), signed (0x01), answered by MEASUREMENTS (0x60)",
        )
    record_end = _HEAD.size + int.from_bytes(length, "little")
    opaque_start = record_end + _BEHIND_RECORD
    signed_end = len(raw) - _SIGNATURE_SIZE
    if opaque_start > signed_end:
        raise _wrong_size(f"a measurement record that ends at {record_end}", f"{len(raw)} bytes in all")
    opaque_size = int.from_bytes(raw[opaque_start - 2 : opaque_start], "little")
    if opaque_size != signed_end - opaque_start:
        raise _wrong_size(
            f"{signed_end - opaque_start} bytes of opaque data before the last {_SIGNATURE_SIZE}", f"{opaque_size}"
        )
    return GpuReport(
        nonce,
        slot,
        _measurements(raw[_HEAD.size : record_end], count),
        _opaque_fields(_fields(raw[opaque_start:signed_end])),
        raw[:signed_end],
        raw[signed_end:],
    )


def _measurements(record: bytes, count: int) -> tuple[bytes, ...]:
    """Return the values of the blocks, which are there once each and in order."""
    if not 0 < count <= MAX_MEASUREMENTS or len(record) != count * _BLOCK_SIZE:
        raise _wrong_record(
            f"{count} blocks in {len(record)} bytes", f"1 to {MAX_MEASUREMENTS} blocks of {_BLOCK_SIZE} bytes"
        )
    parts = _record(count).unpack(record)
    if parts[::2] != _BLOCK_HEADS[:count]:
        raise _wrong_record(
            "a block of another form, or indices doubled, missing or in another order",
            f"DMTF measurements 1 to {count}, digests of {_VALUE_SIZE} bytes",
        )
    return parts[1::2]


@cache
def _record(count: int) -> Struct:
    """Return the layout of so many blocks, heads and values by turns."""
    return Struct(f"{_BLOCK_HEAD.size}s{_VALUE_SIZE}s" * count)


def _fields(opaque: bytes) -> dict[int, bytes]:
    fields: dict[int, bytes] = {}
    position, end = 0, len(opaque)
    while position < end:
        content = position + _FIELD.size
        kind, size = _FIELD.unpack_from(opaque, position) if content <= end else (0, end)
        position = content + size
        if position > end or kind in fields:
            raise _wrong_data(f"a field that ends behind {end} bytes, or one of a type twice", "each type once, whole")
        fields[kind] = opaque[content:position]
    return fields


def _opaque_fields(fields: Mapping[int, bytes]) -> OpaqueFields:
    version = _number(fields, _OPAQUE_DATA_VERSION)
    if version is not None and version > _MAX_OPAQUE_VERSION:
        raise Malformed(
            Reason.GPU_OPAQUE_VERSION, found=f"version {version}", wanted=f"at most version {_MAX_OPAQUE_VERSION}"
        )
    there = [kind for kind in _OF_GPUS if kind in fields]
    if there and len(there) != len(_OF_GPUS):
        raise _wrong_data(f"types {there} alone", f"all of {list(_OF_GPUS)}, or none of an NVSwitch")
    return OpaqueFields(
        _vbios_version(fields),
        _text(fields, _DRIVER_VERSION),
        _text(fields, _PROJECT),
        _text(fields, _PROJECT_SKU),
        _text(fields, _CHIP_SKU),
        _status(fields, _NVDEC0_STATUS),
        _text(fields, _CHIP_INFO),
        _bytes(fields, _BOARD_ID, 4),
        _bytes(fields, _FWID, 48),
        _status(fields, _PROTECTED_PCIE_STATUS),
        _mode(fields),
        _switch_pdis(fields),
        _pdis(_bytes(fields, _SWITCH_GPU_PDIS, 2 * _GPUS_OF_SWITCH * _PDI_SIZE) or b"")[:_GPUS_OF_SWITCH],
        version,
        tuple([kind for kind in fields if kind not in _KNOWN_TYPES]),
    )


def _vbios_version(fields: Mapping[int, bytes]) -> str:
    """Return the version in text, which NVSwitches write so and GPUs in binary: the last part behind the others."""
    value = fields.get(_VBIOS_VERSION, b"")
    if len(value) != _GPU_VBIOS_VERSION_SIZE:
        text = value.rstrip(b"\0")
        if not _VERSION.fullmatch(text):
            raise _wrong_data(f"a VBIOS version of {len(value)} bytes", "8 bytes, or text such as 96.10.55.00.01")
        return text.decode()
    if any(value[5:]):
        raise _wrong_data("a VBIOS version with more than five parts", "zeros in its last three bytes")
    return (value[3::-1] + value[4:5]).hex(".").upper()


def _text(fields: Mapping[int, bytes], kind: int) -> str | None:
    value = fields.get(kind)
    if value is None:
        return None
    text = value.rstrip(b"\0")
    if not _TEXT.fullmatch(text):
        raise _wrong_data(f"{len(value)} other bytes in type {kind}", "1 to 32 letters, digits, dots, dashes, then NUL")
    return text.decode()


def _bytes(fields: Mapping[int, bytes], kind: int, size: int) -> bytes | None:
    value = fields.get(kind)
    if value is not None and len(value) != size:
        raise _wrong_data(f"{len(value)} bytes of type {kind}", f"{size} bytes")
    return value


def _number(fields: Mapping[int, bytes], kind: int) -> int | None:
    value = _bytes(fields, kind, 2)
    return None if value is None else int.from_bytes(value, "little")


def _status(fields: Mapping[int, bytes], kind: int) -> bool | None:
    value = fields.get(kind)
    if value is not None and value not in _STATUS:
        raise _wrong_data(f"another status of type {kind}", "0xaa (enabled) or 0x55 (disabled)")
    return None if value is None else _STATUS[value]


def _mode(fields: Mapping[int, bytes]) -> GpuMode | None:
    flag = _number(fields, _FEATURE_FLAG)
    if flag is not None and flag not in _MODES:
        raise _wrong_data(f"feature flag {flag}", ", ".join(f"{number} ({mode})" for number, mode in _MODES.items()))
    return None if flag is None else _MODES[flag]


def _switch_pdis(fields: Mapping[int, bytes]) -> tuple[bytes, ...]:
    value = fields.get(_SWITCH_PDI)
    if value is not None and len(value) not in (_PDI_SIZE, _MAX_LINKS * _PDI_SIZE):
        raise _wrong_data(f"{len(value)} bytes of switch PDIs", "8 bytes, or 8 for each of 18 links")
    return _pdis(value or b"")


def _pdis(value: bytes) -> tuple[bytes, ...]:
    return tuple([value[at : at + _PDI_SIZE] for at in range(0, len(value), _PDI_SIZE)])


def _wrong_size(found: str, wanted: str) -> Malformed:
    return Malformed(Reason.GPU_REPORT_SIZE, found=found, wanted=wanted)


def _wrong_record(found: str, wanted: str) -> Malformed:
    return Malformed(Reason.GPU_MEASUREMENT_RECORD, found=found, wanted=wanted)


def _wrong_data(found: str, wanted: str) -> Malformed:
    return Malformed(Reason.GPU_OPAQUE_DATA, found=found, wanted=wanted)
