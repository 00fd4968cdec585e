"""The certificate table behind an extended report: entries that point to data, and an entry of zeros at the end.

Source: Guest-Hypervisor Communication Block Standardization (AMD 56421), SNP Extended Guest Request; snp.md, 2.4.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from struct import Struct
from typing import Final

_ENTRY: Final = Struct("<16sII")

VCEK_GUID: Final = bytes.fromhex("63da758de6644564adc5f4b93be8accd")
VLEK_GUID: Final = bytes.fromhex("a8074bc2a25a483eaae639c045a0b8a1")
ASK_GUID: Final = bytes.fromhex("4ab7b379bbac4fe4a02f05aef327c782")  # of the ASVK too
ARK_GUID: Final = bytes.fromhex("c0b406a4a803495297433fb6014cd0ae")
CRL_GUID: Final = bytes.fromhex("92f81bc358114d3d97ffd19f88dc67ea")


@dataclass(frozen=True)
class TableEntry:
    """One entry with its data; None stands for where the data is, and how much of it there is."""

    guid: bytes  # 16 bytes, in the byte order of RFC 4122
    data: bytes
    offset: int | None = None  # from the start of the table
    length: int | None = None


def certificate_table(entries: Iterable[TableEntry], *, end: bytes = bytes(_ENTRY.size)) -> bytes:
    """Return the table, its data in the order of the entries; `end` stands where the entry of zeros belongs."""
    entries = tuple(entries)
    head, data = b"", b""
    start = _ENTRY.size * len(entries) + len(end)
    for entry in entries:
        offset = start + len(data) if entry.offset is None else entry.offset
        head += _ENTRY.pack(entry.guid, offset, len(entry.data) if entry.length is None else entry.length)
        data += entry.data
    return head + end + data
