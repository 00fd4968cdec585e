"""The strict loaders: what each takes, and each thing that it refuses, with its reason."""

import functools
import json
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestd import codec
from attestd.codec import (
    MAX_CBOR_DEPTH,
    MAX_CBOR_ITEMS,
    MAX_DER_DEPTH,
    MAX_JSON_DEPTH,
    MAX_JSON_MEMBERS,
    MAX_PEM_CERTIFICATES,
    CborFields,
    DerElement,
    Fields,
    Reader,
    dump_base64,
    dump_base64url,
    dump_digest,
    dump_oid,
    dump_time,
    load_base64,
    load_base64url,
    load_cbor,
    load_der_sequence,
    load_der_time,
    load_der_unsigned,
    load_digest,
    load_hex,
    load_json,
    load_json_members,
    load_pem,
    load_time,
    require_der,
)
from attestd.errors import Malformed, Reason

ANY = Reason.TDX_QUOTE_TRUNCATED


def refused(call: Callable[[], object], reason: Reason) -> str:
    with pytest.raises(Malformed) as caught:
        call()
    assert caught.value.reason is reason
    return str(caught.value)


# ---------------------------------------------------------------------------------------------------------------------
# Reader


def test_reader_reads_little_endian_fields() -> None:
    reader = Reader(bytes(range(1, 13)), ANY)
    assert (reader.u8(), reader.u16(), reader.u32(), reader.take(2)) == (1, 0x0302, 0x07060504, b"\x08\x09")
    assert (reader.remaining(), reader.offset) == (3, 9)
    inner = reader.nested(2)
    assert (inner.take(2), inner.remaining(), reader.take(1)) == (b"\x0a\x0b", 0, b"\x0c")
    inner.finish()
    reader.finish()


def test_reader_unpacks_a_layout() -> None:
    reader = Reader(bytes(range(1, 9)), ANY, offset=1)
    assert reader.unpack(struct.Struct("<H2xB")) == (0x0302, 6)
    assert reader.unpack(struct.Struct("<H")) == (0x0807,)
    reader.finish()


@pytest.mark.parametrize(
    "read",
    [
        lambda reader: reader.take(4),
        lambda reader: reader.take(-1),
        lambda reader: reader.take(2**64),
        lambda reader: reader.u32(),
        lambda reader: reader.nested(4),
        lambda reader: (reader.take(2), reader.u16()),
        lambda reader: (reader.take(3), reader.u8()),
        lambda reader: reader.nested(2).take(3),
        lambda reader: reader.unpack(struct.Struct("<I")),
        lambda reader: (reader.take(2), reader.unpack(struct.Struct("<H"))),
        lambda reader: reader.nested(2).unpack(struct.Struct("<3s")),
        lambda reader: reader.finish(),
        lambda reader: (reader.take(2), reader.finish()),
    ],
)
def test_reader_never_reads_past_the_end(read: Callable[[Reader], object]) -> None:
    refused(lambda: read(Reader(b"abc", ANY)), ANY)


@pytest.mark.parametrize(("offset", "end"), [(-1, None), (4, None), (0, 4), (2, 1), (0, -1)])
def test_reader_stays_within_the_buffer(offset: int, end: int | None) -> None:
    refused(lambda: Reader(b"abc", ANY, offset=offset, end=end), ANY)


# ---------------------------------------------------------------------------------------------------------------------
# Hex, digests, base64


def test_hex_of_either_case() -> None:
    assert load_hex("00fFAb") == b"\0\xff\xab"
    assert load_hex("") == b""
    assert load_hex("0001", size=2) == b"\0\1"


@pytest.mark.parametrize("text", ["0", "0x00", "00 00", "00\n", " 00", "gg", "\u0966\u0966", "\ud800", "0-", "+1"])
def test_other_hex_is_refused(text: str) -> None:
    refused(lambda: load_hex(text), Reason.HEX_MALFORMED)


@pytest.mark.parametrize("text", ["", "00", "000000"])
def test_hex_of_another_size_is_refused(text: str) -> None:
    refused(lambda: load_hex(text, size=2), Reason.HEX_MALFORMED)


def test_digests_round_trip() -> None:
    text = "sha256:" + "0f" * 32
    assert load_digest(text) == b"\x0f" * 32
    assert dump_digest(b"\x0f" * 32) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0f" * 32,
        "sha256:" + "0F" * 32,
        "sha256:" + "0f" * 31,
        "sha256:" + "0f" * 33,
        "SHA256:" + "0f" * 32,
        "sha384:" + "0f" * 48,
        "sha256:" + "0f" * 32 + "\n",
        " sha256:" + "0f" * 32,
        "sha256:" + "\u0966" * 64,
    ],
)
def test_other_digests_are_refused(text: str) -> None:
    refused(lambda: load_digest(text), Reason.HEX_MALFORMED)


@given(st.binary(max_size=80))
def test_base64_round_trips(raw: bytes) -> None:
    assert load_base64(dump_base64(raw)) == raw
    assert load_base64url(dump_base64url(raw)) == raw
    assert not set("+/=") & set(dump_base64url(raw))


@pytest.mark.parametrize(
    "text",
    [
        "=",
        "A",
        "AA",
        "AAA",
        "AA=",
        "A===",
        "AA==A",
        "AA==AA==",
        "AAAA=",
        "AAAA==",
        "AA===",
        "=AAA",
        "====",
        "AAAA====",
        "AAA=AAAA",
        "AB==",
        "AAB=",
        "A/==",
        "AA AA",
        "AAAA\n",
        "\nAAAA",
        "AA\r\nAA",
        "AA-_",
        "AA.A",
        "AAA\0",
        "ÄAAA",
        "AA\ud800A",
        "=" * 100_000,
        "A" * 100_001,
    ],
)
def test_other_base64_is_refused(text: str) -> None:
    refused(lambda: load_base64(text), Reason.BASE64_MALFORMED)


@pytest.mark.parametrize("text", ["A", "AA==", "AB", "AAB", "AA+/", "AA AA", "AAAA\n", "=", "AAA=", "Ä", "AAAAA"])
def test_other_base64url_is_refused(text: str) -> None:
    refused(lambda: load_base64url(text), Reason.BASE64_MALFORMED)


# ---------------------------------------------------------------------------------------------------------------------
# PEM

BLOCK = b"-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        (BLOCK, 1),
        (BLOCK[:-1], 1),
        (BLOCK + b"\0", 1),
        (BLOCK + b"\n\n\0", 1),
        (BLOCK[:-1] + b"\0", 1),
        (BLOCK * 3, 3),
        (BLOCK * MAX_PEM_CERTIFICATES, MAX_PEM_CERTIFICATES),
    ],
)
def test_pem_certificates(text: bytes, blocks: int) -> None:
    assert load_pem(text) == (b"\0\1\2",) * blocks


def test_pem_lines_are_joined() -> None:
    text = b"-----BEGIN CERTIFICATE-----\n" + b"AAAA\n" * 3 + b"AA==\n-----END CERTIFICATE-----\n"
    assert load_pem(text) == (bytes(10),)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\0",
        b"\n",
        BLOCK + b"\0\0",
        b"\n" + BLOCK,
        b"text\n" + BLOCK,
        BLOCK + b"text",
        BLOCK + b"\n" + BLOCK,
        BLOCK[:-1] + BLOCK,
        BLOCK.replace(b"\n", b"\r\n"),
        BLOCK.replace(b"AAEC", b"AAE"),
        BLOCK.replace(b"AAEC", b"AB=="),
        BLOCK.replace(b"AAEC", b"AA-_"),
        BLOCK.replace(b"AAEC", b"AA C"),
        BLOCK.replace(b"AAEC", b"AAEC\n"),
        BLOCK.replace(b"AAEC\n", b""),
        BLOCK.replace(b"AAEC", b"A" * 80),
        BLOCK.replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE"),
        BLOCK.replace(b"CERTIFICATE", b"X509 CRL"),
        BLOCK.replace(b"BEGIN", b"END"),
        BLOCK[:-20],
        BLOCK * (MAX_PEM_CERTIFICATES + 1),
    ],
)
def test_other_pem_is_refused(text: bytes) -> None:
    refused(lambda: load_pem(text), Reason.PEM_MALFORMED)


# ---------------------------------------------------------------------------------------------------------------------
# DER


def test_der_elements() -> None:
    long = b"\x04\x81\x80" + bytes(128)
    longer = b"\x04\x82\x01\x00" + bytes(256)
    elements = list(load_der_sequence(b"\x02\x01\x05" + long + longer + b"\x05\x00", ANY))
    assert [(element.tag, len(element.content)) for element in elements] == [(2, 1), (4, 128), (4, 256), (5, 0)]
    assert b"".join(element.encoded for element in elements) == b"\x02\x01\x05" + long + longer + b"\x05\x00"
    assert list(load_der_sequence(b"", ANY)) == []


@pytest.mark.parametrize(
    "raw",
    [
        b"\x02",
        b"\x02\x02\x05",
        b"\x02\x80\x05\x00\x00",
        b"\x04\x81",
        b"\x04\x81\x7f" + bytes(127),
        b"\x04\x82\x00\x80" + bytes(128),
        b"\x04\x82\x80" + bytes(200),
        b"\x04\x84\x00\x00\x00\x01\x00",
        b"\x04\x84\x01\x00\x00\x00" + bytes(10),
        b"\x04\xff" + b"\x01" * 200,
    ],
)
def test_other_der_is_refused(raw: bytes) -> None:
    refused(lambda: list(load_der_sequence(raw, ANY)), ANY)


def sequences(depth: int) -> bytes:
    return functools.reduce(lambda inner, _: b"\x30" + bytes((len(inner),)) + inner, range(depth - 1), b"\x30\0")


@pytest.mark.parametrize(
    "raw",
    [
        b"\x30\x06\x02\x01\x05\x31\x01\x05",
        b"\x30\x03\x02\x02\x05\x05\x00",
        b"\x30\x04\x04\x81\x01\x00",
        b"\x24\x04\x04\x02\x00\x00",
        b"\x30\x04\x1f\x81\x01\x00",
        b"\xbf\x01\x00",
        b"\x30\x80\x00\x00",
        sequences(MAX_DER_DEPTH + 1),
    ],
)
def test_der_is_required_all_the_way_down(raw: bytes) -> None:
    refused(lambda: require_der(raw, ANY), ANY)


def test_der_trees() -> None:
    for raw in (b"", b"\5\0\5\0", b"\x30\5\x04\3\x30\x80\1", b"\xa0\4\x31\2\5\0", sequences(MAX_DER_DEPTH)):
        require_der(raw, ANY)


@pytest.mark.parametrize(
    ("dotted", "content"),
    [
        ("2.5.4.3", "550403"),
        ("1.2.840.113741.1.13.1", "2a864886f84d010d01"),
        ("1.3.6.1.4.1.3704.1.3.8", "2b060104019c78010308"),
        ("2.999.128", "88378100"),
        ("0.0", "00"),
    ],
)
def test_object_identifiers(dotted: str, content: str) -> None:
    assert dump_oid(dotted).hex() == content


@pytest.mark.parametrize(
    ("tag", "content", "year"),
    [
        (0x17, b"180521104510Z", 2018),
        (0x17, b"491231235959Z", 2049),
        (0x17, b"500101000000Z", 1950),
        (0x17, b"991231235959Z", 1999),
        (0x18, b"20230511000000Z", 2023),
        (0x18, b"20500101000000Z", 2050),
        (0x18, b"99991231235959Z", 9999),
    ],
)
def test_times_in_der(tag: int, content: bytes, year: int) -> None:
    at = load_der_time(DerElement(tag, content, b""), ANY)
    assert (at.year, at.tzinfo) == (year, UTC)
    assert at.strftime("%Y%m%d%H%M%SZ").encode().endswith(content)


@pytest.mark.parametrize(
    ("tag", "content"),
    [
        (0x17, b""),
        (0x17, b"Z"),
        (0x17, b"180521104510"),
        (0x17, b"1805211045Z"),
        (0x17, b"180521104510+0000"),
        (0x17, b"180521104510z"),
        (0x17, b"18 521104510Z"),
        (0x17, b"181321104510Z"),
        (0x17, b"180532104510Z"),
        (0x17, b"180521104560Z"),
        (0x17, b"1805211045\xb2\xb3Z"),
        (0x17, b"20180521104510Z"),
        (0x18, b"00000101000000Z"),
        (0x18, b"20500101000000.5Z"),
        (0x18, b"500101000000Z"),
        (0x13, b"180521104510Z"),
    ],
)
def test_other_times_in_der_are_refused(tag: int, content: bytes) -> None:
    refused(lambda: load_der_time(DerElement(tag, content, b""), ANY), ANY)


@pytest.mark.parametrize(
    ("content", "value"), [(b"\0", 0), (b"\x7f", 127), (b"\0\x80", 128), (b"\0\xff", 255), (b"\1\0", 256)]
)
def test_der_integers(content: bytes, value: int) -> None:
    assert load_der_unsigned(content, ANY, most=256) == value


@pytest.mark.parametrize("content", [b"", b"\x80", b"\xff", b"\0\0", b"\0\x7f", b"\xff\x80", b"\1\1", b"\1\0\0\0\0"])
def test_other_der_integers_are_refused(content: bytes) -> None:
    refused(lambda: load_der_unsigned(content, ANY, most=256), ANY)


# ---------------------------------------------------------------------------------------------------------------------
# Times


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00+00:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T14:30:00+02:30", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00.5Z", datetime(2026, 1, 31, 12, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-01-31T12:00:00.123456Z", datetime(2026, 1, 31, 12, 0, 0, 123_456, tzinfo=UTC)),
        ("2024-02-29T23:59:59-00:00", datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_times(text: str, at: datetime) -> None:
    loaded = load_time(text)
    assert loaded == at
    assert loaded.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-01-31 12:00:00Z",
        "2026-01-31t12:00:00z",
        "2026-01-31T12:00Z",
        "2026-01-31T12:00:00.Z",
        "2026-01-31T12:00:00.1234567Z",
        "2026-01-31T12:00:00,5Z",
        "2026-01-31T12:00:00+0000",
        "2026-01-31T12:00:00+00",
        "2026-01-31T12:00:00+24:00",
        "2026-02-29T12:00:00Z",
        "2026-13-01T12:00:00Z",
        "2026-01-31T24:00:01Z",
        "2026-01-31T12:00:60Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "2026-01-31T12:00:00Z\n",
        " 2026-01-31T12:00:00Z",
        "\u0968\u0966\u0968\u096c-01-31T12:00:00Z",
        "20260131T120000Z",
        "2026-W05-6T12:00:00Z",
        "1769860800",
    ],
)
def test_other_times_are_refused(text: str) -> None:
    refused(lambda: load_time(text), Reason.TIME_MALFORMED)


def test_times_are_written_in_utc() -> None:
    at = datetime(2026, 1, 31, 14, tzinfo=timezone(timedelta(hours=2)))
    assert dump_time(at) == "2026-01-31T12:00:00Z"
    assert dump_time(at.replace(microsecond=5)) == "2026-01-31T12:00:00.000005Z"


# ---------------------------------------------------------------------------------------------------------------------
# JSON


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"null", None),
        (b" \t\r\n[true , false]\n", [True, False]),
        (b'""', ""),
        (b"0", 0),
        (b"-1", -1),
        (b"[]", []),
        (b"{}", {}),
        (b'{"":{}}', {"": {}}),
        ('"\U0001f512é\x7f"'.encode(), "\U0001f512é\x7f"),
        (rb'"\ud83d\udd12\"\\\/\b\f\n\r\t"', '\U0001f512"\\/\b\f\n\r\t'),
        (b'{"a":"[[[[[[[[[[[[[[[[[[[[[[[["}', {"a": "[" * 24}),
        (rb'["\"[[[[[[[[[[[[[[[[[[[[[[[["]', ['"' + "[" * 24]),
    ],
)
def test_json(raw: bytes, value: object) -> None:
    assert load_json(raw) == value


def nested(depth: int, left: bytes = b"[", right: bytes = b"]") -> bytes:
    return left * depth + right * depth


@pytest.mark.parametrize(
    "raw", [nested(MAX_JSON_DEPTH), nested(MAX_JSON_DEPTH // 2, b'{"a":[', b"]}"), nested(MAX_JSON_DEPTH - 1) + b" "]
)
def test_json_up_to_the_depth(raw: bytes) -> None:
    assert load_json(raw) == json.loads(raw)


@pytest.mark.parametrize(
    "raw",
    [
        nested(MAX_JSON_DEPTH + 1),
        nested(MAX_JSON_DEPTH // 2 + 1, b'{"a":[', b"]}"),
        b"[" + nested(MAX_JSON_DEPTH // 2, b'{"a":[', b"]}") + b"]",
        b'["",' + nested(MAX_JSON_DEPTH) + b"]",
        nested(100_000),
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'["' + b'",["' * 100_000,
    ],
)
def test_json_beyond_the_depth_is_refused(raw: bytes) -> None:
    limit = sys.getrecursionlimit()
    refused(lambda: load_json(raw), Reason.JSON_DEPTH)
    assert sys.getrecursionlimit() == limit


# In the manner of the well-known parsing suites: structure, literals, strings, numbers, encodings.
NOT_JSON = [
    # structure
    b"",
    b" ",
    b"[",
    b"]",
    b"{",
    b"}",
    b"[]]",
    b"[][]",
    b"[,]",
    b"[,1]",
    b"[1,]",
    b"[1,,2]",
    b"[1 2]",
    b"[1;2]",
    b"[1:2]",
    b"(1)",
    b"<a>",
    b"[}",
    b"{]",
    b'{"a"}',
    b'{"a":}',
    b'{:"a"}',
    b'{"a":1,}',
    b'{,"a":1}',
    b'{"a":1,,"b":2}',
    b'{"a":1 "b":2}',
    b'{"a" 1}',
    b'{"a"::1}',
    b'{"a"=1}',
    b"{'a':1}",
    b"{a:1}",
    b"{1:1}",
    b"{null:1}",
    b'{["a"]:1}',
    b'{"a":1}}',
    b'{"a":1}{"a":1}',
    b'{"a":1} x',
    b"[1]\0",
    b"\0",
    b"[\0]",
    b"*",
    b"[*]",
    b"...",
    b"[1]// comment",
    b"[1]/* comment */",
    b"# comment\n[1]",
    # white space that is none
    b"[\x0b]",
    b"[\x0c]",
    "[\u00a0]".encode(),
    "\u2028[]".encode(),
    b"\xe2\x81\xa0",
    # literals
    b"nul",
    b"nulll",
    b"Null",
    b"NULL",
    b"True",
    b"tru",
    b"truefalse",
    b"undefined",
    b"a",
    # strings
    b'"',
    b'"a',
    b"'a'",
    b'"a" "b"',
    b'"\\"',
    b'"\\x41"',
    b'"\\u"',
    b'"\\u004"',
    b'"\\u00G1"',
    b'"\\U0041"',
    b'"\\a"',
    b'"\\\0"',
    b'"\n"',
    b'"\t"',
    b'"\x1f"',
    b'"\0"',
    b'"\\ud800"',
    b'"\\udc00"',
    b'"\\ud800\\u0041"',
    b'"\\udc00\\ud800"',
    b'"\\u0000"',
    b'{"\\ud800":1}',
    b'{"a":[{"b":["\\udfff"]}]}',
    b'["\\n","\\u0000"]',
    # numbers
    b"+1",
    b"01",
    b"-01",
    b"00",
    b"-",
    b"- 1",
    b"0x1",
    b"1a",
    b"1_000",
    b".5",
    b"-.5",
    b"++1",
    b"1e",
    b"1e+",
    b"1.",
    b"2.e3",
    b"\xef\xbc\x91",
    b"Inf",
    b"nan",
    # encodings
    b"\xef\xbb\xbf{}",
    b"\xef\xbb\xbf",
    b"\xff\xfe[\0]\0",
    b"\xfe\xff\0[\0]",
    '"é"'.encode("latin-1"),
    b'"\xff"',
    b'"\xc0\xaf"',
    b'"\xe0\x80\x80"',
    b'"\xed\xa0\x80"',
    b'"\xf4\xbf\xbf\xbf"',
    b'"\xe2\x82"',
    b"\xe9",
]


@pytest.mark.parametrize("raw", NOT_JSON)
def test_other_json_is_refused(raw: bytes) -> None:
    refused(lambda: load_json(raw), Reason.JSON_MALFORMED)


@pytest.mark.parametrize(
    "raw",
    [
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b'{"a":NaN}',
        b"1.0",
        b"1e5",
        b"1E5",
        b"1e999",
        b"-1.5e-3",
        b"1" * 5000,
        b"-" + b"1" * 5000,
        b'{"a":' + b"9" * 5000 + b"}",
    ],
)
def test_numbers_that_are_no_integers_are_refused(raw: bytes) -> None:
    refused(lambda: load_json(raw), Reason.JSON_NUMBER)


@pytest.mark.parametrize(
    "raw", [b'{"a":1,"a":1}', b'{"a":1,"b":2,"a":3}', b'[{"b":{"a":1,"a":2}}]', b'{"a":1,"\\u0061":2}', b'{"":1,"":1}']
)
def test_a_member_twice_is_refused(raw: bytes) -> None:
    refused(lambda: load_json(raw), Reason.JSON_DUPLICATE_MEMBER)


def test_an_unclosed_string_of_escapes_takes_linear_work() -> None:
    """Count the work instead of timing it: the pattern must consume the whole of such a string in one match."""
    for raw in (b'"' + b'\\"' * 1000, b'"' + b"a" * 1000, b'"' + b"\\" * 1001):
        assert codec.strict_json._STRING.sub(b"", raw) == b""
        refused(lambda raw=raw: load_json(b"[" + raw), Reason.JSON_MALFORMED)  # type: ignore[misc]


@given(st.binary(max_size=60))
def test_no_bytes_leak_another_error_from_json(raw: bytes) -> None:
    for document in (raw, b"[" + raw + b"]", b'{"a":"' + raw + b'"}'):
        with suppress(Malformed):
            assert load_json(document) == json.loads(document)
        with suppress(Malformed):
            load_json_members(document)


# ---------------------------------------------------------------------------------------------------------------------
# The members of a JSON object as they stand


@pytest.mark.parametrize("raw", [b"{}", b" {\n} "])
def test_object_without_members(raw: bytes) -> None:
    assert load_json_members(raw) == {}
    refused(lambda: load_json_members(raw + b"}"), Reason.JSON_MALFORMED)


def test_members_keep_their_exact_bytes() -> None:
    raw = ' {"a" : {"x": 1,\t"é":[ ]} ,\n"b":"\\u0041" , "c":3}\n'.encode()
    members = load_json_members(raw)
    assert {name: member.raw for name, member in members.items()} == {
        "a": '{"x": 1,\t"é":[ ]}'.encode(),
        "b": b'"\\u0041"',
        "c": b"3",
    }
    assert {name: member.value for name, member in members.items()} == json.loads(raw)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", Reason.JSON_MALFORMED),
        (b"[]", Reason.JSON_MALFORMED),
        (b'"a"', Reason.JSON_MALFORMED),
        (b"{", Reason.JSON_MALFORMED),
        (b"{1:2}", Reason.JSON_MALFORMED),
        (b'{"a"}', Reason.JSON_MALFORMED),
        (b'{"a":', Reason.JSON_MALFORMED),
        (b'{"a":1', Reason.JSON_MALFORMED),
        (b'{"a":1,', Reason.JSON_MALFORMED),
        (b'{"a":1,}', Reason.JSON_MALFORMED),
        (b'{"a":1]', Reason.JSON_MALFORMED),
        (b'{"a":1}x', Reason.JSON_MALFORMED),
        (b'{"a":1}{}', Reason.JSON_MALFORMED),
        (b'\xef\xbb\xbf{"a":1}', Reason.JSON_MALFORMED),
        (b'{"a":"\xff"}', Reason.JSON_MALFORMED),
        (b'{"a":"\\ud800"}', Reason.JSON_MALFORMED),
        (b'{"\\u0000":1}', Reason.JSON_MALFORMED),
        (b'{"a":1,"a":1}', Reason.JSON_DUPLICATE_MEMBER),
        (b'{"a":{"b":1,"b":1}}', Reason.JSON_DUPLICATE_MEMBER),
        (b'{"a":1.5}', Reason.JSON_NUMBER),
        (b'{"a":NaN}', Reason.JSON_NUMBER),
        (b'{"a":' + b"1" * 5000 + b"}", Reason.JSON_NUMBER),
        (b'{"a":' + nested(MAX_JSON_DEPTH) + b"}", Reason.JSON_DEPTH),
        (json.dumps(dict.fromkeys(map(str, range(MAX_JSON_MEMBERS + 1)))).encode(), Reason.JSON_SCHEMA),
    ],
)
def test_members_are_refused_as_json_is(raw: bytes, reason: Reason) -> None:
    refused(lambda: load_json_members(raw), reason)


def test_as_many_members_as_are_allowed() -> None:
    assert len(load_json_members(json.dumps(dict.fromkeys(map(str, range(MAX_JSON_MEMBERS)))).encode())) == 16


# ---------------------------------------------------------------------------------------------------------------------
# CBOR, as A09 has it


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        "",
        b"",
        0,
        23,
        24,
        255,
        256,
        65536,
        2**32,
        2**64 - 1,
        True,
        False,
        None,
        {"a": [1, {"b": b"\0\1", "c": "é"}, []], "d": {}},
        [[], [], {"a": 1}, 2],
        "a" * 24,
        b"a" * 65536,
    ],
)
def test_cbor(value: object) -> None:
    assert load_cbor(cbor2.dumps(value)) == value


def nested_cbor(depth: int) -> bytes:
    return b"\x81" * depth + b"\0"


def test_cbor_up_to_the_limits() -> None:
    assert load_cbor(nested_cbor(MAX_CBOR_DEPTH - 1)) == [[[[[[[0]]]]]]]
    assert load_cbor(cbor2.dumps([0] * (MAX_CBOR_ITEMS - 1))) == [0] * (MAX_CBOR_ITEMS - 1)


NOT_CBOR = {
    "nothing": b"",
    "a second item": b"\0\0",
    "a byte after a map": b"\xa0\0",
    "array cut short": b"\x82\0",
    "map cut short": b"\xa1\x61a",
    "bytes cut short": b"\x42\0",
    "text cut short": b"\x62a",
    "argument cut short": b"\x19\1",
    "array of 2**64 - 1": b"\x9b" + b"\xff" * 8,
    "map of 2**64 - 1": b"\xbb" + b"\xff" * 8,
    "bytes of 2**64 - 1": b"\x5b" + b"\xff" * 8,
    "text of 2**63": b"\x7b\x80" + bytes(7),
    "indefinite array": b"\x9f\0\xff",
    "indefinite map": b"\xbf\x61a\0\xff",
    "indefinite bytes": b"\x5f\x41a\xff",
    "indefinite text": b"\x7f\x61a\xff",
    "break": b"\xff",
    "reserved length 28": b"\x1c",
    "reserved length 30": b"\x9e",
    "integer in two bytes that fits one": b"\x18\x17",
    "integer in three bytes that fits two": b"\x19\0\xff",
    "integer in five bytes that fits three": b"\x1a\0\0\xff\xff",
    "integer in nine bytes that fits five": b"\x1b\0\0\0\0\xff\xff\xff\xff",
    "length in two bytes that fits one": b"\x58\x01a",
    "negative integer": b"\x20",
    "float 16": b"\xf9\0\0",
    "float 32": b"\xfa\x7f\x80\0\0",
    "float 64": b"\xfb" + struct.pack(">d", 1.5),
    "float 16 that looks like true": b"\xf9\0\x15",
    "undefined": b"\xf7",
    "simple value 0": b"\xe0",
    "simple value 32": b"\xf8\x20",
    "true in two bytes": b"\xf8\x15",
    "tag 0, a time": b"\xc0\x74" + b"2026-01-31T12:00:00Z",
    "tag 1": b"\xc1\0",
    "tag 2, a bignum": b"\xc2\x49\1" + bytes(8),
    "tag 4": b"\xc4\x82\0\0",
    "tag 24, CBOR": b"\xd8\x18\x41\0",
    "tag 28, shareable": b"\xd8\x1c\x80",
    "tag 28 and 29, a cycle": b"\xd8\x1c\x81\xd8\x1d\0",
    "tag 35, a regular expression": b"\xd8\x23\x66(a+)+$",
    "tag 256, string references": b"\xd9\1\0\x80",
    "tag 55799, CBOR itself": b"\xd9\xd9\xf7\0",
    "tag in a map": b"\xa1\x61a\xc1\0",
    "integer key": b"\xa1\0\0",
    "bytes key": b"\xa1\x41a\0",
    "array key": b"\xa1\x80\0",
    "map key": b"\xa1\xa0\0",
    "null key": b"\xa1\xf6\0",
    "second key": b"\xa2\x61a\0\x41b\0",
    "key after an array": b"\xa2\x61a\x81\0\0\0",
    "a key twice": b"\xa2\x61a\0\x61a\0",
    "a key twice, deeper": b"\x81\xa2\x61a\0\x61a\0",
    "text that is no UTF-8": b"\x61\xff",
    "text with a surrogate": b"\x63\xed\xa0\x80",
    "text with a NUL": b"\x62a\0",
    "key with a NUL": b"\xa1\x62a\0\0",
    "too deep": nested_cbor(MAX_CBOR_DEPTH + 1),
    "much too deep": nested_cbor(100_000),
    "much too deep, cut short": b"\x81" * 100_000,
    "maps much too deep": b"\xa1\x61a" * 100_000 + b"\0",
    "too many items": cbor2.dumps([0] * MAX_CBOR_ITEMS),
    "many more items": cbor2.dumps([[0] * 100] * 100),
}


@pytest.mark.parametrize("raw", NOT_CBOR.values(), ids=NOT_CBOR)
def test_other_cbor_is_refused(raw: bytes) -> None:
    refused(lambda: load_cbor(raw), Reason.CBOR_MALFORMED)


def test_the_library_meets_nothing_that_the_scan_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[bytes] = []

    def loads(raw: bytes, **options: Any) -> object:
        met.append(raw)
        raise cbor2.CBORDecodeError

    monkeypatch.setattr(cbor2, "loads", loads)
    left_to_the_library = {"a key twice", "a key twice, deeper", "text that is no UTF-8", "text with a surrogate"}
    for title, raw in NOT_CBOR.items():
        met.clear()
        refused(lambda raw=raw: load_cbor(raw), Reason.CBOR_MALFORMED)  # type: ignore[misc]
        assert bool(met) == (title in left_to_the_library or title == "too deep"), title


@given(st.binary(max_size=40))
def test_no_bytes_leak_another_error_from_cbor(raw: bytes) -> None:
    with suppress(Malformed):
        # What is taken has one encoding.
        assert cbor2.dumps(load_cbor(raw)) == raw


# ---------------------------------------------------------------------------------------------------------------------
# Fields

DOCUMENT = Fields(
    {
        "text": "abc",
        "empty": "",
        "null": None,
        "number": 5,
        "true": True,
        "hex": "00fF",
        "time": "2026-01-31T12:00:00Z",
        "base64": "AAE=",
        "base64url": "AAE",
        "texts": ["a", "b"],
        "object": {"inner": 1},
        "objects": [{"a": 1}, {"a": 2}],
        "list": [1],
        "binaries": ["AAE=", ""],
    },
    path="here",
)


def test_fields_return_what_is_there() -> None:
    assert DOCUMENT.text("text") == "abc"
    assert DOCUMENT.text("text", most=3, least=3) == "abc"
    assert DOCUMENT.text("empty", least=0) == ""
    assert DOCUMENT.integer("number", 5) == 5
    assert DOCUMENT.hexadecimal("hex", 2) == b"\0\xff"
    assert DOCUMENT.time("time") == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert DOCUMENT.binary("base64") == b"\0\1"
    assert DOCUMENT.binary("base64url", url=True) == b"\0\1"
    assert DOCUMENT.texts("texts", most=2) == ("a", "b")
    assert DOCUMENT.texts("absent") == ()
    assert DOCUMENT.binaries("binaries", most=2) == (b"\0\1", b"")
    assert CborFields({"binaries": [b"\0\1"]}).binaries("binaries", most=1) == (b"\0\1",)
    assert DOCUMENT.fields("object").integer("inner", 1) == 1
    assert [entry.integer("a", 9) for entry in DOCUMENT.array("objects", most=2)] == [1, 2]
    assert DOCUMENT.array("absent", least=0) == []
    assert DOCUMENT.fields("object").only("inner", "other").integer("inner", 1) == 1
    assert ("null" in DOCUMENT, "absent" in DOCUMENT) == (True, False)
    assert (DOCUMENT.given("text"), DOCUMENT.given("null"), DOCUMENT.given("absent")) == (True, False, False)


REFUSED_FIELDS: dict[str, tuple[Callable[[Fields], object], str]] = {
    "text absent": (lambda f: f.text("absent"), "nothing at here.absent"),
    "text null": (lambda f: f.text("null"), "null at here.null"),
    "text empty": (lambda f: f.text("empty"), "a string of 0 characters"),
    "text too long": (lambda f: f.text("text", most=2), "a string of 3 characters"),
    "text too short": (lambda f: f.text("text", least=4), "a string of 3 characters"),
    "text a number": (lambda f: f.text("number"), "an integer"),
    "integer too large": (lambda f: f.integer("number", 4), "an integer"),
    "integer true": (lambda f: f.integer("true", 4), "a boolean"),
    "integer a text": (lambda f: f.integer("text", 4), "a string"),
    "integer absent": (lambda f: f.integer("absent", 4), "nothing"),
    "hex too short": (lambda f: f.hexadecimal("hex", 3), "a string of 4 characters"),
    "hex too long": (lambda f: f.hexadecimal("hex", 1), "a string of 4 characters"),
    "hex that is none": (lambda f: f.hexadecimal("text", 2), "a string"),
    "time that is none": (lambda f: f.time("text"), "a string"),
    "base64 a number": (lambda f: f.binary("number"), "an integer"),
    "base64 absent": (lambda f: f.binary("absent"), "nothing"),
    "texts with numbers": (lambda f: f.texts("list"), "an array of 1"),
    "texts too many": (lambda f: f.texts("texts", most=1), "an array of 2"),
    "texts no array": (lambda f: f.texts("text"), "a string"),
    "texts null": (lambda f: f.texts("null"), "null"),
    "binaries absent": (lambda f: f.binaries("absent", most=2), "nothing"),
    "binaries too many": (lambda f: f.binaries("binaries", most=1), "an array of 2"),
    "binaries with numbers": (lambda f: f.binaries("list", most=1), "an integer at here.list.0"),
    "object a text": (lambda f: f.fields("text"), "a string of 3 characters at here.text"),
    "object absent": (lambda f: f.fields("absent"), "null at here.absent"),
    "object with an unknown member": (lambda f: f.fields("object").only("other"), "1 unknown members in here.object"),
    "objects absent": (lambda f: f.array("absent"), "nothing"),
    "objects of numbers": (lambda f: f.array("list"), "an integer at here.list[0]"),
    "objects too many": (lambda f: f.array("objects", most=1), "an array of 2"),
    "objects too few": (lambda f: f.array("objects", least=3), "an array of 2"),
    "objects an object": (lambda f: f.array("object"), "an object"),
}


@pytest.mark.parametrize(("read", "found"), REFUSED_FIELDS.values(), ids=REFUSED_FIELDS)
def test_fields_of_another_type_are_refused(read: Callable[[Fields], object], found: str) -> None:
    assert f"found {found}" in refused(lambda: read(DOCUMENT), Reason.JSON_SCHEMA)


def test_integers_of_a_list_of_objects() -> None:
    fields = Fields({"levels": [{"svn": 0, "category": "x"}, {"svn": 255}], "many": [{"svn": 1}] * 3, "odd": [1, 2]})
    assert fields.integers("levels", "svn", count=2, most=255) == [0, 255]
    for name in ("many", "odd", "absent"):
        refused(lambda name=name: fields.integers(name, "svn", count=2, most=255), Reason.JSON_SCHEMA)  # type: ignore[misc]
    refused(lambda: fields.integers("levels", "svn", count=2, most=254), Reason.JSON_SCHEMA)
    refused(lambda: fields.integers("levels", "svn", count=3, most=255), Reason.JSON_SCHEMA)
    refused(lambda: fields.integers("levels", "category", count=2, most=255), Reason.JSON_SCHEMA)
    refused(lambda: Fields({"a": [{"svn": True}]}).integers("a", "svn", count=1, most=1), Reason.JSON_SCHEMA)


def test_fields_name_an_array_of_long_entries() -> None:
    refused(lambda: Fields({"a": ["x" * 257]}).texts("a"), Reason.JSON_SCHEMA)
    refused(lambda: Fields({"a": [""]}).texts("a"), Reason.JSON_SCHEMA)


@pytest.mark.parametrize("value", [None, 1, -1, 2**64, "a", [1], True, b"a"])
def test_fields_want_an_object(value: object) -> None:
    refused(lambda: Fields(value), Reason.JSON_SCHEMA)


def test_fields_refuse_with_the_reason_they_were_given() -> None:
    refused(lambda: Fields({}, Reason.POLICY_MALFORMED).text("a"), Reason.POLICY_MALFORMED)
    refused(lambda: Fields({"a": {}}, Reason.POLICY_MALFORMED).fields("a").text("b"), Reason.POLICY_MALFORMED)


def test_base64_that_is_not_canonical_names_its_member() -> None:
    message = refused(lambda: Fields({"a": "AB=="}, path="here").binary("a"), Reason.BASE64_MALFORMED)
    assert "at here.a" in message


def test_a_refusal_of_the_callers_own() -> None:
    error = DOCUMENT.refuse("number", "six")
    assert (error.reason, error.found, error.wanted) == (Reason.JSON_SCHEMA, "an integer at here.number", "six")


def test_cbor_fields_take_byte_strings_alone() -> None:
    fields = CborFields({"raw": b"\0\1", "text": "AAE=", "object": {"raw": b"\2"}}, Reason.CBOR_SCHEMA)
    assert fields.binary("raw") == b"\0\1"
    assert fields.binary("raw", url=True) == b"\0\1"
    assert fields.fields("object").binary("raw") == b"\2"
    for name in ("text", "absent", "object"):
        refused(lambda name=name: fields.binary(name), Reason.CBOR_SCHEMA)  # type: ignore[misc]
    assert "2 bytes" in refused(lambda: fields.text("raw"), Reason.CBOR_SCHEMA)
