"""What AMD's extensions say, from their bytes: each one, and each rule about them broken alone (S15, S17, S18, S20)."""

from contextlib import suppress
from typing import Literal, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestd.claims import ProductLine, TcbVersion, VekClaims
from attestd.errors import NotAuthentic, Reason
from attestd.snp.vek import parse_vek_extensions
from tests.refusals import not_authentic
from tests.snp.baseline import AT, DAY, VEK

ARC = "1.3.6.1.4.1.3704.1."
HWID = bytes(range(64))
Kind: TypeAlias = Literal["vcek", "vlek"]

# As they stand in genuine certificates.
GENOA = {
    "1": b"\x02\x01\x00",
    "2": b"\x16\x05Genoa",
    "3.1": b"\x02\x01\x0a",
    "3.2": b"\x02\x01\x00",
    "3.3": b"\x02\x01\x17",
    "3.4": b"\x02\x01\x00",
    "3.5": b"\x02\x01\x00",
    "3.6": b"\x02\x01\x00",
    "3.7": b"\x02\x01\x00",
    "3.8": b"\x02\x02\x00\xdb",
    "4": HWID,
}
TURIN = {
    **{name: value for name, value in GENOA.items() if name != "3.4"},
    "1": b"\x02\x01\x01",
    "2": b"\x16\x05Turin",
    "3.9": b"\x02\x01\x01",
    "4": HWID[:8],
}
VLEK = {**{name: value for name, value in GENOA.items() if name != "4"}, "5": b"\x16\x07CN=x.y1"}
BASELINES: list[tuple[dict[str, bytes], Kind, ProductLine]] = [
    (GENOA, "vcek", ProductLine.GENOA),
    (TURIN, "vcek", ProductLine.TURIN),
    (VLEK, "vlek", ProductLine.GENOA),
]


def parse(
    extensions: dict[str, bytes], kind: Kind = "vcek", line: ProductLine = ProductLine.GENOA, **changed: bytes
) -> VekClaims:
    values = {ARC + name: value for name, value in {**extensions, **changed}.items()}
    return parse_vek_extensions(values.get, kind, line)


def test_baselines() -> None:
    tcb = TcbVersion(None, 10, 0, 23, 219)
    assert [parse(*baseline) for baseline in BASELINES] == [
        VekClaims("vcek", ProductLine.GENOA, "Genoa", tcb, HWID, None),
        VekClaims("vcek", ProductLine.TURIN, "Turin", tcb._replace(fmc=1), HWID[:8], None),
        VekClaims("vlek", ProductLine.GENOA, "Genoa", tcb, None, "CN=x.y1"),
    ]


@pytest.mark.parametrize(("extensions", "kind", "line"), BASELINES, ids=["VCEK", "Turin", "VLEK"])
def test_each_extension_is_needed(extensions: dict[str, bytes], kind: Kind, line: ProductLine) -> None:
    for name in extensions:
        with not_authentic(Reason.SNP_VEK_EXTENSION):
            parse({other: value for other, value in extensions.items() if other != name}, kind, line)


@pytest.mark.parametrize(
    ("baseline", "name", "value"),
    [
        (BASELINES[0], "5", VLEK["5"]),  # a CSP_ID in a VCEK
        (BASELINES[0], "3.9", b"\x02\x01\x00"),  # an FMC but on Turin
        (BASELINES[1], "3.4", b"\x02\x01\x00"),
        (BASELINES[1], "5", VLEK["5"]),
        (BASELINES[2], "4", HWID),  # a HWID in a VLEK
    ],
)
def test_extension_of_another_kind(
    baseline: tuple[dict[str, bytes], Kind, ProductLine], name: str, value: bytes
) -> None:
    extensions, kind, line = baseline
    with not_authentic(Reason.SNP_VEK_EXTENSION):
        parse({**extensions, name: value}, kind, line)


@pytest.mark.parametrize("value", [b"\x02\x01\x00", b"\x02\x01\x02", b"\x02\x01\x7f"])
def test_struct_version_of_another_line(value: bytes) -> None:
    with not_authentic(Reason.SNP_VEK_EXTENSION):
        parse({**TURIN, "1": value}, "vcek", ProductLine.TURIN)
    if value != GENOA["1"]:
        with not_authentic(Reason.SNP_VEK_EXTENSION):
            parse({**GENOA, "1": value})


@pytest.mark.parametrize("name", ["3.1", "3.2", "3.3", "3.8", "3.9"])
@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x02\x00",
        b"\x02\x01\x80",  # negative
        b"\x02\x01\xff",
        b"\x02\x02\x00\x05",  # not minimal
        b"\x02\x81\x01\x05",
        b"\x02\x02\x01\x00",  # 256
        b"\x02\x09" + b"\x01" * 9,
        b"\x02\x01\x05\x00",  # more behind it
        b"\x02\x01\x05\x02\x01\x05",
        b"\x0a\x01\x05",  # ENUMERATED
        b"\x04\x03\x02\x01\x05",  # wrapped
        b"\x05",
    ],
)
def test_integers(name: str, value: bytes) -> None:
    with not_authentic(Reason.SNP_VEK_EXTENSION):
        parse({**TURIN, name: value}, "vcek", ProductLine.TURIN)


@pytest.mark.parametrize("name", ["3.1", "3.2", "3.3", "3.9"])
def test_levels_have_seven_bits(name: str) -> None:
    levels = parse({**TURIN, name: b"\x02\x01\x7f"}, "vcek", ProductLine.TURIN).tcb
    assert 127 in levels
    with not_authentic(Reason.SNP_VEK_EXTENSION):
        parse({**TURIN, name: b"\x02\x02\x00\x80"}, "vcek", ProductLine.TURIN)


def test_microcode_has_eight_bits() -> None:
    assert parse({**GENOA, "3.8": b"\x02\x02\x00\xff"}).tcb.microcode == 255


@pytest.mark.parametrize("name", ["3.4", "3.5", "3.6", "3.7"])
def test_reserved_levels(name: str) -> None:
    with not_authentic(Reason.SNP_VEK_EXTENSION):
        parse({**GENOA, name: b"\x02\x01\x01"})


@pytest.mark.parametrize(
    ("line", "name"),
    [(ProductLine.MILAN, "Milan"), (ProductLine.MILAN, "Milan-B0"), (ProductLine.GENOA, "Genoa-B1")],
)
def test_product_names(line: ProductLine, name: str) -> None:
    value = b"\x16" + bytes((len(name),)) + name.encode()
    assert parse({**GENOA, "2": value}, "vcek", line).product_name == name
    with not_authentic(Reason.SNP_PRODUCT_MISMATCH):
        other = ProductLine.GENOA if line is ProductLine.MILAN else ProductLine.MILAN
        parse({**GENOA, "2": value}, "vcek", other)


@pytest.mark.parametrize(
    "value",
    [
        b"\x16\x00",
        b"\x16\x05genoa",
        b"\x16\x06Genoa\n",
        b"\x16\x06Genoa ",
        b"\x16\x06GenoaX",
        b"\x16\x08Genoa-b0",
        b"\x16\x09Genoa-B00",
        b"\x16\x06Venice",
        b"\x0c\x05Genoa",  # UTF8String
        b"\x16\x05Gen\xefa",
        b"Genoa",
    ],
)
def test_other_product_names(value: bytes) -> None:
    with not_authentic(Reason.SNP_VEK_EXTENSION):
        parse({**GENOA, "2": value})


@pytest.mark.parametrize("head", [b"\x04\x40", b"\x02\x3e", b"\x00\x00"])
def test_a_raw_hwid_may_begin_with_anything(head: bytes) -> None:
    assert parse({**GENOA, "4": head + HWID[2:]}).hwid == head + HWID[2:]
    assert parse({**TURIN, "4": b"\x04\x06" + HWID[2:8]}, "vcek", ProductLine.TURIN).hwid == b"\x04\x06" + HWID[2:8]


def test_hwid_in_an_octet_string() -> None:
    assert parse({**GENOA, "4": b"\x04\x40" + HWID}).hwid == HWID
    assert parse({**TURIN, "4": b"\x04\x08" + HWID[:8]}, "vcek", ProductLine.TURIN).hwid == HWID[:8]


@pytest.mark.parametrize(
    "value",
    [
        b"",
        HWID[:63],
        HWID + b"\0",
        HWID[:8],  # as long as Turin's
        b"\x04\x08" + HWID[:8],
        b"\x04\x41" + HWID + b"\0",
        b"\x04\x3f" + HWID[:63],
        b"\x04\x42\x04\x40" + HWID,  # wrapped twice
        b"\x04\x40" + HWID + b"\0",
        b"\x03\x40" + HWID,  # BIT STRING
    ],
)
def test_hwid_of_another_form(value: bytes) -> None:
    with not_authentic(Reason.SNP_VEK_EXTENSION):
        parse({**GENOA, "4": value})


@pytest.mark.parametrize(
    "value",
    [b"\x16\x00", b"\x0c\x04CN=x", b"CN=x", b"\x16\x05CN=\nx", b"\x16\x05CN=\xe9x", b"\x16\x81\x81" + b"x" * 129],
)
def test_csp_id_of_another_form(value: bytes) -> None:
    with not_authentic(Reason.SNP_VEK_EXTENSION):
        parse({**VLEK, "5": value}, "vlek")


@given(st.sampled_from(sorted(GENOA)), st.binary(max_size=80))
def test_any_bytes_are_refused_or_read(name: str, value: bytes) -> None:
    with suppress(NotAuthentic):
        claims = parse({**GENOA, name: value})
        assert claims.hwid is not None
        assert len(claims.hwid) == 64


def test_window() -> None:
    for at in VEK.validity:
        VEK.require_current(at)
    with not_authentic(Reason.SNP_VEK_NOT_YET_VALID):
        VEK.require_current(AT - 2 * DAY)
    with not_authentic(Reason.SNP_VEK_EXPIRED):
        VEK.require_current(AT + 2 * DAY)
