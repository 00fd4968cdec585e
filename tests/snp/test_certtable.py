"""The table of an extended report: what is in it, and each rule of its layout broken alone (S31)."""

from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestd.errors import Malformed, Reason
from attestd.simulator import pem
from attestd.snp.certtable import (
    MAX_CERTIFICATE_TABLE_ENTRIES,
    MAX_CERTIFICATE_TABLE_SIZE,
    CertificateTable,
    parse_certificate_table,
)
from tests.refusals import malformed

VCEK = bytes.fromhex("63da758de6644564adc5f4b93be8accd")
VLEK = bytes.fromhex("a8074bc2a25a483eaae639c045a0b8a1")
ASK = bytes.fromhex("4ab7b379bbac4fe4a02f05aef327c782")
ARK = bytes.fromhex("c0b406a4a80349529743" + "3fb6014cd0ae")
CRL = bytes.fromhex("92f81bc358114d3d97ffd19f88dc67ea")
# Of which one implementation writes an entry about the processor.
UNKNOWN = bytes.fromhex("ecae0c0f950243b1afa20ae2e0d565b6")
END = bytes(24)
EMPTY = CertificateTable(None, None, None, None, None)


def entry(guid: bytes, offset: int, length: int) -> bytes:
    return guid + pack("<II", offset, length)


def table(*data: tuple[bytes, bytes]) -> bytes:
    """Write a table with its data in the order given, without gaps."""
    offset = 24 * (len(data) + 1)
    entries, tail = b"", b""
    for guid, value in data:
        entries += entry(guid, offset + len(tail), len(value))
        tail += value
    return entries + END + tail


def test_all_kinds() -> None:
    raw = table((VCEK, b"0vcek"), (VLEK, b"0vlek"), (ASK, b"0ask"), (ARK, b"0ark"), (CRL, b"0crl"), (UNKNOWN, b"?"))
    assert parse_certificate_table(raw) == CertificateTable(b"0vcek", b"0vlek", b"0ask", b"0ark", b"0crl")


def test_end_alone() -> None:
    assert parse_certificate_table(END) == parse_certificate_table(END + b"padding") == EMPTY


def test_order_gaps_and_what_lies_behind() -> None:
    raw = entry(ARK, 100, 3) + entry(ASK, 72, 3) + END + b"ask" + bytes(25) + b"ark" + bytes(4096)
    assert parse_certificate_table(raw) == EMPTY._replace(ask=b"ask", ark=b"ark")


def test_pem() -> None:
    raw = table((VCEK, pem(b"0vcek")), (ASK, pem(b"0ask") + b"\n"), (ARK, b"0ark"))
    assert parse_certificate_table(raw) == EMPTY._replace(vcek=b"0vcek", ask=b"0ask", ark=b"0ark")
    with malformed(Reason.SNP_CERT_TABLE):
        parse_certificate_table(table((ASK, pem(b"0ask", b"0ark"))))
    with malformed(Reason.PEM_MALFORMED):
        parse_certificate_table(table((ASK, pem(b"0ask") + b"more")))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        END[:-1],
        entry(VCEK, 24, 1),
        entry(VCEK, 24, 1) + END[:-1],
        # The GUID of zeros ends the list, whatever else stands there.
        entry(bytes(16), 24, 1) + b"1",
        entry(bytes(16), 0, 1) + b"1",
        entry(bytes(16), 24, 0),
    ],
    ids=["nothing", "short", "no end", "short end", "end with data", "end with a length", "end with an offset"],
)
def test_list_without_an_end(raw: bytes) -> None:
    with malformed(Reason.SNP_CERT_TABLE):
        parse_certificate_table(raw)


@pytest.mark.parametrize("guid", [VCEK, UNKNOWN])
@pytest.mark.parametrize(
    ("offset", "length"),
    [
        (0, 4),  # the list itself
        (47, 1),
        (47, 4),
        (48, 5),  # one byte past the end
        (52, 1),
        (48, 0),
        (52, 0),
        (48, 0xFFFFFFFF),  # 4 GiB
        (0xFFFFFFFF, 1),
        (0xFFFFFFD0, 0x60),  # in 32 bits 48
        (0xFFFFFFFF, 0xFFFFFFFF),
    ],
)
def test_bounds(guid: bytes, offset: int, length: int) -> None:
    assert parse_certificate_table(entry(guid, 48, 4) + END + b"data")._replace(vcek=None) == EMPTY
    with malformed(Reason.SNP_CERT_TABLE):
        parse_certificate_table(entry(guid, offset, length) + END + b"data")


@pytest.mark.parametrize(("start", "accepted"), [(72, False), (73, False), (75, False), (76, True)])
def test_overlap(start: int, *, accepted: bool) -> None:
    raw = entry(UNKNOWN, start, 4) + entry(VCEK, 72, 4) + END + b"datadata"
    if accepted:
        assert parse_certificate_table(raw).vcek == b"data"
    else:
        with malformed(Reason.SNP_CERT_TABLE):
            parse_certificate_table(raw)


@pytest.mark.parametrize("guid", [VCEK, UNKNOWN])
def test_guid_twice(guid: bytes) -> None:
    with malformed(Reason.SNP_CERT_TABLE):
        parse_certificate_table(table((guid, b"1"), (guid, b"2")))


def test_sizes() -> None:
    def unknown(count: int) -> bytes:
        return table(*((bytes(15) + bytes((number + 1,)), b"1") for number in range(count)))

    assert parse_certificate_table(unknown(MAX_CERTIFICATE_TABLE_ENTRIES)) == EMPTY
    with malformed(Reason.SNP_CERT_TABLE):
        parse_certificate_table(unknown(MAX_CERTIFICATE_TABLE_ENTRIES + 1))
    assert parse_certificate_table(END.ljust(MAX_CERTIFICATE_TABLE_SIZE, b"\0")) == EMPTY
    with malformed(Reason.SNP_CERT_TABLE):
        parse_certificate_table(END.ljust(MAX_CERTIFICATE_TABLE_SIZE + 1, b"\0"))


@given(st.binary(max_size=200), st.lists(st.sampled_from((VCEK, VLEK, ASK, ARK, CRL, UNKNOWN)), max_size=4))
def test_any_bytes_are_malformed_or_a_table(tail: bytes, guids: list[bytes]) -> None:
    raw = b"".join(guid + tail[position : position + 8] for position, guid in enumerate(guids)) + END + tail
    for candidate in (tail, raw):
        try:
            found = parse_certificate_table(candidate)
        except Malformed:
            continue
        assert all(data is None or data in candidate for data in found)
