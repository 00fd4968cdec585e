"""Bags of cells: how cells travel and are stored (TON Blockchain, 5.3; boc.tlb, serialized_boc).

One form alone is read: the magic b5ee9c72, references that point forwards, every cell reached from a root, nothing
after the last byte. Written are bags without an index, each cell once.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from attestd.codec import Reader
from attestd.errors import Malformed, Reason
from attestd.tvm.cell import Cell

# What the network lets the whole state of an account have (config 43, max_acc_state_cells).
MAX_CELLS: Final = 65536

_MAGIC: Final = bytes.fromhex("b5ee9c72")
_HAS_INDEX: Final = 0x80
_HAS_CRC: Final = 0x40
_HAS_CACHE_BITS: Final = 0x20
_RESERVED: Final = 0x18
_MAX_NUMBER_SIZE: Final = 4
_MAX_OFFSET_SIZE: Final = 8
_CRC_SIZE: Final = 4
# The first byte of a cell: references, whether it is special, whether hashes are stored with it, levels.
_REFS: Final = 0x07
_SPECIAL: Final = 0x08
_WITH_HASHES: Final = 0x10
_LEVEL_SHIFT: Final = 5
_MAX_REFS: Final = 4
_TAGGED: Final = 0x7F
_CRC32C: Final = 0x82F63B78  # the polynomial, reversed


class _Raw(NamedTuple):
    """A cell as it stands in the bag."""

    stop: int  # where it ends, from the first cell's start
    level_mask: int
    special: bool
    bits: int
    data: bytes
    refs: tuple[int, ...]


def load_boc(raw: bytes, *, roots: int | None = 1, max_cells: int = MAX_CELLS) -> list[Cell]:
    """Read a bag of cells and return its roots, as many as `roots` says unless that is None.

    Raises `Malformed`: `cell.boc_malformed` where the bag is not strict or has more cells than `max_cells`,
    `cell.malformed` where one of its cells is none.
    """
    found, bag = _load_bag(raw, max_cells)
    if roots is not None and len(found) != roots:
        raise _refused(f"{len(found)} roots", f"{roots}")
    last = len(bag) - 1
    cells: list[Cell] = []  # from the last of the bag to its first, since references point forwards
    for cell in reversed(bag):
        made = Cell(cell.data, cell.bits, tuple(cells[last - ref] for ref in cell.refs), cell.special)
        if made.level_mask != cell.level_mask:
            raise _refused("a cell that claims another level", "the level that follows from what is below it")
        cells.append(made)
    return [cells[last - root] for root in found]


def _load_bag(raw: bytes, max_cells: int) -> tuple[list[int], list[_Raw]]:
    """Read header, root list, index and cells; return the indexes of the roots, and the cells."""
    reader = Reader(raw, Reason.BOC_MALFORMED)
    if reader.take(len(_MAGIC)) != _MAGIC:
        raise _refused("another magic", _MAGIC.hex())
    flags, offset_size = reader.u8(), reader.u8()
    number_size = flags & ~(_HAS_INDEX | _HAS_CRC | _HAS_CACHE_BITS | _RESERVED)
    if flags & _RESERVED or (flags & _HAS_CACHE_BITS and not flags & _HAS_INDEX):
        raise _refused(f"flags {flags:#04x}", "no reserved flag, and cache bits with an index alone")
    if not (0 < number_size <= _MAX_NUMBER_SIZE and 0 < offset_size <= _MAX_OFFSET_SIZE):
        raise _refused(f"numbers of {number_size} and {offset_size} bytes", "1 to 4 and 1 to 8")
    count, root_count, absent = (_number(reader, number_size) for _ in range(3))
    size = _number(reader, offset_size)
    if count > max_cells or not 0 < root_count <= count or absent:
        raise _refused(
            f"{count} cells, {root_count} roots, {absent} absent", f"at most {max_cells}, one root or more, none absent"
        )
    roots = [_number(reader, number_size) for _ in range(root_count)]
    index = [_number(reader, offset_size) for _ in range(count)] if flags & _HAS_INDEX else None
    body = reader.take(size)
    if flags & _HAS_CRC and reader.take(_CRC_SIZE) != crc32c(raw[: reader.offset - _CRC_SIZE]).to_bytes(4, "little"):
        raise _refused("another checksum", "CRC-32C over all before it")
    reader.finish()
    cells = _load_cells(body, count, number_size)
    _require_reached(roots, cells)
    if index is not None and [offset >> bool(flags & _HAS_CACHE_BITS) for offset in index] != [c.stop for c in cells]:
        raise _refused("an index of other offsets", "where each cell ends")
    return roots, cells


def _number(reader: Reader, size: int) -> int:
    return int.from_bytes(reader.take(size))


def _load_cells(body: bytes, count: int, number_size: int) -> list[_Raw]:
    reader = Reader(body, Reason.BOC_MALFORMED)
    cells = [_load_cell(reader, number_size) for _ in range(count)]
    reader.finish()
    return cells


def _load_cell(reader: Reader, number_size: int) -> _Raw:
    first, second = reader.take(2)
    ref_count = first & _REFS
    if ref_count > _MAX_REFS or first & _WITH_HASHES:
        raise _refused("an absent cell, or one with stored hashes", "at most four references, and no hashes")
    data, bits = _without_tag(reader.take((second + 1) // 2), second)
    numbers = reader.take(number_size * ref_count)
    refs = tuple(int.from_bytes(numbers[at : at + number_size]) for at in range(0, len(numbers), number_size))
    return _Raw(reader.offset, first >> _LEVEL_SHIFT, bool(first & _SPECIAL), bits, data, refs)


def _without_tag(data: bytes, descriptor: int) -> tuple[bytes, int]:
    """Take away the completion tag, which is there where the bits fill no whole bytes (d2 is odd)."""
    if descriptor % 2 == 0:
        return data, 8 * len(data)
    tagged = data[-1]
    # A tag in front of seven zeros would be whole bytes in a longer writing.
    if not tagged & _TAGGED:
        raise _refused("a cell without completion tag", "a one behind the last bit")
    tag = tagged & -tagged
    return data[:-1] + bytes((tagged ^ tag,)), 8 * len(data) - tag.bit_length()


def _require_reached(roots: list[int], cells: list[_Raw]) -> None:
    """Require that references point forwards, so that there is no cycle, and that every cell is reached."""
    reached = set(roots)
    if max(reached) >= len(cells):
        raise _refused("a root that is not there", f"an index below {len(cells)}")
    for at, cell in enumerate(cells):
        if at not in reached:
            raise _refused("a cell that nothing refers to", "cells below a root")
        if any(not at < ref < len(cells) for ref in cell.refs):
            raise _refused("a reference that does not point forwards", "the index of a later cell")
        reached.update(cell.refs)


def dump_boc(*roots: Cell, crc: bool = True) -> bytes:
    """Write a bag of cells with these roots, which differ, since a bag has no more roots than cells."""
    order = _order(roots)
    places = {cell.hash: at for at, cell in enumerate(order)}
    number_size = (len(order).bit_length() + 7) // 8
    body = b"".join(
        cell.descriptor + cell.content + b"".join(places[child.hash].to_bytes(number_size) for child in cell.refs)
        for cell in order
    )
    offset_size = (len(body).bit_length() + 7) // 8
    header = (
        _MAGIC
        + bytes((number_size | (_HAS_CRC if crc else 0), offset_size))
        + b"".join(number.to_bytes(number_size) for number in (len(order), len(roots), 0))
        + len(body).to_bytes(offset_size)
        + b"".join(places[root.hash].to_bytes(number_size) for root in roots)
    )
    bag = header + body
    return bag + crc32c(bag).to_bytes(_CRC_SIZE, "little") if crc else bag


def _order(roots: Sequence[Cell]) -> list[Cell]:
    """List each cell once, in front of all that it refers to: a walk from the leaves up, turned round."""
    done: dict[bytes, Cell] = {}
    pending = list(reversed(roots))
    while pending:
        cell = pending[-1]
        below = [child for child in reversed(cell.refs) if child.hash not in done]
        if below:
            pending += below
        else:
            done.setdefault(pending.pop().hash, cell)
    return list(reversed(done.values()))


def _crc32c_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_CRC32C if value & 1 else 0)  # noqa: PLW2901 - eight steps of one division
        table.append(value)
    return tuple(table)


_CRC32C_TABLE: Final = _crc32c_table()


def crc32c(raw: bytes) -> int:
    """Return the CRC-32C (Castagnoli; RFC 3720, appendix B.4)."""
    value, table = 0xFFFFFFFF, _CRC32C_TABLE
    for byte in raw:
        value = value >> 8 ^ table[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def _refused(found: str, wanted: str) -> Malformed:
    return Malformed(Reason.BOC_MALFORMED, found=found, wanted=wanted)
