"""What a GPU or NVSwitch signs: an SPDM request for measurements and the response to it; every field may be replaced.

Source: DMTF DSP0274 (SPDM) 1.1, 10.11, GET_MEASUREMENTS and MEASUREMENTS; nvidia.md, 4.1 and 4.2. Integers are
little-endian, those of the signature big-endian.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from struct import pack
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from attestd.simulator.keys import P384_ORDER, secret
from attestd.simulator.tampering import Signing, put

# Types of opaque fields.
DRIVER_VERSION: Final = 3
GPU_INFO: Final = 4
VBIOS_VERSION: Final = 6
NVDEC0_STATUS: Final = 11
MSRSCNT: Final = 12
CPRINFO: Final = 13
BOARD_ID: Final = 14
CHIP_SKU: Final = 15
CHIP_SKU_MOD: Final = 16
PROJECT: Final = 17
PROJECT_SKU: Final = 18
PROJECT_SKU_MOD: Final = 19
FWID: Final = 20
PROTECTED_PCIE_STATUS: Final = 21
SWITCH_PDI: Final = 22
DISABLED_PORTS: Final = 23
POSITION_ID: Final = 24
LOCK_SWITCH_STATUS: Final = 25
SWITCH_GPU_PDIS: Final = 26
SYS_ENABLE_STATUS: Final = 33
OPAQUE_DATA_VERSION: Final = 34
CHIP_INFO: Final = 35
FEATURE_FLAG: Final = 36

_SIGNATURE_SIZE: Final = 96


@dataclass(frozen=True, kw_only=True)
class Block:
    """A measurement block (DSP0274 1.1, 10.11.1). None stands for the size that is true."""

    index: int  # from 1
    value: bytes
    specification: int = 1  # DMTF
    value_type: int = 1  # a digest of mutable firmware
    size: int | None = None  # of what follows
    value_size: int | None = None

    def encode(self) -> bytes:
        """Return the block."""
        size = 3 + len(self.value) if self.size is None else self.size
        value_size = len(self.value) if self.value_size is None else self.value_size
        return pack("<BBHBH", self.index, self.specification, size, self.value_type, value_size) + self.value


@dataclass(frozen=True, kw_only=True)
class OpaqueField:
    """A field of the opaque data. None stands for the size that is true."""

    type: int
    data: bytes
    size: int | None = None

    def encode(self) -> bytes:
        """Return type, size and data."""
        return pack("<HH", self.type, len(self.data) if self.size is None else self.size) + self.data


@dataclass(frozen=True, kw_only=True)
class SpdmReport:
    """Request and response, one after the other. None stands for what is true, in `of` for what the device says."""

    request_version: int = 0x11
    request_code: int = 0xE0  # GET_MEASUREMENTS
    request_param1: int = 1  # with a signature
    request_param2: int = 0xFF  # all measurements
    nonce: bytes = secret("attestd", "GPU nonce", 32)
    slot: int = 0
    version: int = 0x11
    code: int = 0x60  # MEASUREMENTS
    param1: int = 0
    param2: int = 0
    number_of_blocks: int | None = None
    record_length: int | None = None
    blocks: tuple[Block, ...] | None = None
    responder_nonce: bytes = secret("attestd", "responder nonce", 32)
    opaque_length: int | None = None
    opaque: tuple[OpaqueField, ...] | None = None
    edit_blocks: Callable[[tuple[Block, ...]], Iterable[Block]] = tuple
    edit_opaque: Callable[[tuple[OpaqueField, ...]], Iterable[OpaqueField]] = tuple

    def of(self, blocks: tuple[Block, ...], opaque: tuple[OpaqueField, ...]) -> Self:
        """Return the report of a device that says this, edited as the report has it."""
        return replace(
            self,
            blocks=tuple(self.edit_blocks(blocks)) if self.blocks is None else self.blocks,
            opaque=tuple(self.edit_opaque(opaque)) if self.opaque is None else self.opaque,
        )

    def encode(self) -> bytes:
        """Return everything up to the signature. Raises `ValueError` where a nonce has not 32 bytes."""
        if {len(self.nonce), len(self.responder_nonce)} != {32}:
            raise ValueError("a nonce has 32 bytes")
        blocks, fields = self.blocks or (), self.opaque or ()
        record, opaque = (b"".join(part.encode() for part in parts) for parts in (blocks, fields))
        number = len(blocks) if self.number_of_blocks is None else self.number_of_blocks
        length = len(record) if self.record_length is None else self.record_length
        request = bytes((self.request_version, self.request_code, self.request_param1, self.request_param2))
        response = bytes((self.version, self.code, self.param1, self.param2, number))
        opaque_length = len(opaque) if self.opaque_length is None else self.opaque_length
        return b"".join(
            (
                request + self.nonce + bytes((self.slot,)),
                response + length.to_bytes(3, "little") + record,
                self.responder_nonce + pack("<H", opaque_length) + opaque,
            )
        )


SPDM: Final = SpdmReport()


def measured(values: Mapping[int, bytes]) -> Callable[[tuple[Block, ...]], Iterable[Block]]:
    """Return an edit by which blocks have other values; the indices are those of a RIM, from 0."""
    return lambda blocks: (replace(block, value=values.get(block.index - 1, block.value)) for block in blocks)


def opaque_field(kind: int, data: bytes | None) -> Callable[[tuple[OpaqueField, ...]], Iterable[OpaqueField]]:
    """Return an edit by which the field of that type has other data; it comes last where there was none.

    Without `data` the field is left out.
    """

    def edit(fields: tuple[OpaqueField, ...]) -> Iterable[OpaqueField]:
        made = () if data is None else (OpaqueField(type=kind, data=data),)
        place = next((i for i, field in enumerate(fields) if field.type == kind), len(fields))
        return *fields[:place], *made, *(field for field in fields[place:] if field.type != kind)

    return edit


def seal_spdm_report(report: SpdmReport, key: EllipticCurvePrivateKey, signing: Signing) -> bytes:
    """Return the report with its signature, r ‖ s, at the end; `signing.after` edits it."""
    signed = signing.before(report.encode())
    return signing.after(signed + signing.p384(key, signed))


def other_spdm_s(raw: bytes) -> bytes:
    """Replace s of a report by n - s: another signature that verifies (ECDSA is malleable)."""
    half = _SIGNATURE_SIZE // 2
    return put(len(raw) - half, (P384_ORDER - int.from_bytes(raw[-half:])).to_bytes(half))(raw)
