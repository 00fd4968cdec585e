"""The certificate table of an extended report: what a host puts beside the report, and nobody has signed.

Source: Guest-Hypervisor Communication Block Standardization (AMD 56421), SNP Extended Guest Request; snp.md, 2.4. A
list of entries of 24 bytes that ends with one of zeros, and the data that they point to, counted from its start.
"""

from itertools import pairwise
from struct import Struct
from typing import Final, NamedTuple

from attestd.codec import load_pem
from attestd.errors import Malformed, Reason

# Four times what Linux takes from a host (SEV_FW_BLOB_MAX_SIZE).
MAX_CERTIFICATE_TABLE_SIZE: Final = 64 * 1024
# Six kinds of entries are known.
MAX_CERTIFICATE_TABLE_ENTRIES: Final = 32

_ENTRY: Final = Struct("<16sII")  # GUID in the byte order of RFC 4122, offset, length
_END: Final = bytes(16)
_PEM: Final = b"-----BEGIN CERTIFICATE-----"

_VCEK: Final = bytes.fromhex("63da758de6644564adc5f4b93be8accd")
_VLEK: Final = bytes.fromhex("a8074bc2a25a483eaae639c045a0b8a1")
_ASK: Final = bytes.fromhex("4ab7b379bbac4fe4a02f05aef327c782")
_ARK: Final = bytes.fromhex("c0b406a4a803495297433fb6014cd0ae")
_CRL: Final = bytes.fromhex("92f81bc358114d3d97ffd19f88dc67ea")


class CertificateTable(NamedTuple):
    """What a table holds, all of it untrusted: certificates in DER, and the CRL as it came."""

    vcek: bytes | None
    vlek: bytes | None
    ask: bytes | None  # or the ASVK, which has no GUID of its own
    ark: bytes | None
    crl: bytes | None


class _Entry(NamedTuple):
    guid: bytes
    start: int
    stop: int


def parse_certificate_table(raw: bytes) -> CertificateTable:
    """Parse a table. Entries of unknown GUID are passed over, and so are bytes that no entry points to.

    Raises `Malformed`: `snp.cert_table`, or `pem.malformed` for certificates in PEM.
    """
    if len(raw) > MAX_CERTIFICATE_TABLE_SIZE:
        raise _refusal(f"{len(raw)} bytes", f"at most {MAX_CERTIFICATE_TABLE_SIZE} bytes")
    entries = _parse_entries(raw)
    _require_apart(entries, (len(entries) + 1) * _ENTRY.size, len(raw))
    data = {entry.guid: raw[entry.start : entry.stop] for entry in entries}
    return CertificateTable(
        vcek=_der(data.get(_VCEK)),
        vlek=_der(data.get(_VLEK)),
        ask=_der(data.get(_ASK)),
        ark=_der(data.get(_ARK)),
        crl=data.get(_CRL),
    )


def _parse_entries(raw: bytes) -> list[_Entry]:
    """Read the entries up to the one of zeros, which must be there."""
    entries: list[_Entry] = []
    for position in range(0, len(raw) - _ENTRY.size + 1, _ENTRY.size):
        guid, offset, length = _ENTRY.unpack_from(raw, position)
        if guid == _END:
            if offset or length:
                raise _refusal("data in the entry that ends the list", "an entry of zeros")
            return entries
        if len(entries) == MAX_CERTIFICATE_TABLE_ENTRIES:
            raise _refusal("more entries", f"at most {MAX_CERTIFICATE_TABLE_ENTRIES}")
        # The sum of two 32-bit fields, in integers that do not wrap.
        entries.append(_Entry(guid, offset, offset + length))
    raise _refusal("a list of entries without an end", "an entry of zeros behind the last one")


def _require_apart(entries: list[_Entry], first: int, last: int) -> None:
    """Require that each entry has data of its own, between the end of the list and the end of the table."""
    for number, entry in enumerate(entries):
        if not first <= entry.start < entry.stop <= last:
            raise _refusal(
                f"entry {number} from {entry.start} to {entry.stop}", f"data that lies between {first} and {last}"
            )
    if len({entry.guid for entry in entries}) != len(entries):
        raise _refusal("a GUID twice", "each GUID once")
    for before, after in pairwise(sorted(entries, key=lambda entry: entry.start)):
        if before.stop > after.start:
            raise _refusal(f"two entries that share the bytes from {after.start} on", "entries that do not overlap")


def _der(data: bytes | None) -> bytes | None:
    """Return a certificate in DER, which a host may have stored in PEM."""
    if data is None or not data.startswith(_PEM):
        return data
    certificates = load_pem(data)
    if len(certificates) != 1:
        raise _refusal(f"{len(certificates)} certificates in one entry", "one")
    return certificates[0]


def _refusal(found: str, wanted: str) -> Malformed:
    return Malformed(Reason.SNP_CERT_TABLE, found=found, wanted=wanted)
