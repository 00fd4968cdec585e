"""Reports, versions 2 to 5: every field where it stands, and each rule of the layout broken alone."""

from contextlib import suppress
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestd.claims import FirmwareVersion, ProductLine, TcbVersion
from attestd.errors import Malformed, Reason
from attestd.snp.report import REPORT_SIZE, SIGNED_SIZE, parse_report, tcb_version
from tests.refusals import malformed
from tests.snp.baseline import FIELDS, OLDER, REPORT, TURIN, put, turin_tcb, unsigned, with_signature

VERSIONS = (2, 3, 4, 5)
# Fields that are kept as they stand.
PLAIN = (
    *("guest_svn", "family_id", "image_id", "platform_info", "report_data", "measurement", "host_data"),
    *("id_key_digest", "author_key_digest", "report_id", "report_id_ma", "cpuid_step", "chip_id"),
    *("launch_mit_vector", "current_mit_vector"),
)


def test_layout_has_no_field_twice() -> None:
    covered = [offset for start, size in FIELDS.values() for offset in range(start, start + size)]
    assert len(covered) == len(set(covered))


@pytest.mark.parametrize("name", PLAIN)
def test_field_is_where_it_stands(name: str) -> None:
    _, size = FIELDS[name]
    value = bytes(range(0x81, 0x81 + size))
    body = parse_report(unsigned(**{name: value})).body
    found = getattr(body, name)
    assert found == (value if isinstance(found, bytes) else int.from_bytes(value, "little"))
    assert {**body._asdict(), name: None} == {**parse_report(unsigned()).body._asdict(), name: None}


@pytest.mark.parametrize("name", ["current_tcb", "reported_tcb", "committed_tcb", "launch_tcb"])
def test_tcb_version_is_where_it_stands(name: str) -> None:
    parsed = parse_report(unsigned(**{name: bytes(range(8))}))
    assert getattr(parsed, name) == bytes(range(8))
    changed = {"signed": None, name: None}
    assert {**parsed._asdict(), **changed} == {**parse_report(unsigned())._asdict(), **changed}


def test_firmware_versions() -> None:
    body = parse_report(unsigned(current_build=1, current_minor=2, current_major=3, committed_build=4)).body
    assert (body.current_version, body.committed_version) == (FirmwareVersion(3, 2, 1), FirmwareVersion(1, 55, 4))
    assert FirmwareVersion(1, 55, 40) < FirmwareVersion(1, 56, 1)
    assert str(body.current_version) == "3.2.1"


@pytest.mark.parametrize("version", VERSIONS)
def test_what_a_version_does_not_tell(version: int) -> None:
    parsed = parse_report(unsigned(version=version))
    body = parsed.body
    assert body.version == version
    assert (body.cpuid_fam_id, body.cpuid_mod_id, body.cpuid_step) == ((None,) * 3 if version == 2 else (0x19, 0x11, 1))
    assert parsed.product_line == (None if version == 2 else ProductLine.GENOA)
    assert (body.launch_mit_vector, body.current_mit_vector) == ((0xB, 0xB) if version == 5 else (None, None))


def test_signed_bytes_and_their_id() -> None:
    parsed = parse_report(REPORT)
    assert parsed.signed == REPORT[:SIGNED_SIZE]
    assert parsed.evidence_id == sha256(b"attestd/evidence-id/v1/snp-report\0" + REPORT[:SIGNED_SIZE]).digest()
    r = int.from_bytes(REPORT[0x2A0:0x2E8], "little")
    s = int.from_bytes(REPORT[0x2E8:0x330], "little")
    assert parsed.signature == r.to_bytes(48, "big") + s.to_bytes(48, "big")


@pytest.mark.parametrize("size", [0, 1, REPORT_SIZE - 1, REPORT_SIZE + 1, 2 * REPORT_SIZE])
def test_size(size: int) -> None:
    with malformed(Reason.SNP_REPORT_SIZE):
        parse_report((REPORT + REPORT)[:size])


@pytest.mark.parametrize("version", [0, 1, 6, 0x80000002, 0xFFFFFFFF])
def test_unknown_version(version: int) -> None:
    with malformed(Reason.SNP_REPORT_VERSION):
        parse_report(unsigned(version=version))


@pytest.mark.parametrize("algorithm", [0, 2, 0x101, 0xFFFFFFFF])
def test_unknown_signature_algorithm(algorithm: int) -> None:
    with malformed(Reason.SNP_SIGNATURE_ALGORITHM):
        parse_report(unsigned(signature_algo=algorithm))


RESERVED = (
    *range(0x04C, 0x050),
    *range(0x18B, 0x1A0),
    *(0x1EB, 0x1EF),
    *range(0x208, 0x2A0),
    *range(0x330, REPORT_SIZE),
)


@pytest.mark.parametrize("version", VERSIONS)
def test_reserved_bytes(version: int) -> None:
    """Each byte that no field takes, in each version; what a version does not have is reserved in it."""
    missing = [offset for name in OLDER[version] for offset in range(FIELDS[name][0], sum(FIELDS[name]))]
    raw = unsigned(version=version)
    for offset in (*RESERVED, *missing):
        with malformed(Reason.SNP_RESERVED):
            parse_report(put(raw, offset, b"\x80"))
    taken = {offset for start, size in FIELDS.values() for offset in range(start, start + size)}
    assert taken.isdisjoint(RESERVED)
    assert sorted({*taken, *RESERVED, *range(SIGNED_SIZE, 0x330)}) == list(range(REPORT_SIZE))


@pytest.mark.parametrize("policy", [0, 0x10000, 0x30000 | 1 << 26, 0x30000 | 1 << 63, 2**64 - 1])
def test_reserved_bits_of_the_guest_policy(policy: int) -> None:
    with malformed(Reason.SNP_POLICY_RESERVED):
        parse_report(unsigned(policy=policy))


def test_every_other_bit_of_the_guest_policy() -> None:
    assert parse_report(unsigned(policy=(1 << 26) - 1)).body.policy == (1 << 26) - 1
    assert parse_report(unsigned(policy=1 << 17)).body.policy == 1 << 17


def test_vmpl() -> None:
    assert [parse_report(unsigned(vmpl=vmpl)).body.vmpl for vmpl in range(4)] == [0, 1, 2, 3]
    for vmpl in (4, 0x100, 0xFFFFFFFF):
        with malformed(Reason.SNP_VMPL):
            parse_report(unsigned(vmpl=vmpl))


@pytest.mark.parametrize(
    ("key_info", "reason"),
    [
        *((signing_key << 2, Reason.SNP_SIGNING_KEY) for signing_key in range(2, 8)),
        (0b11110, Reason.SNP_SIGNING_KEY),
        (0b00010, Reason.SNP_MASK_CHIP_KEY),
        (0b00111, Reason.SNP_MASK_CHIP_KEY),
        *((1 << bit, Reason.SNP_KEY_INFO) for bit in range(5, 32)),
    ],
)
def test_key_info(key_info: int, reason: Reason) -> None:
    with malformed(reason):
        parse_report(unsigned(key_info=key_info))


def test_keys() -> None:
    bodies = [parse_report(unsigned(key_info=key_info)).body for key_info in (0, 1, 4, 5)]
    assert [(body.signing_key, body.author_key_en) for body in bodies] == [
        ("vcek", False),
        ("vcek", True),
        ("vlek", False),
        ("vlek", True),
    ]


@pytest.mark.parametrize(
    ("family", "models", "line"),
    [
        (0x19, (0x00, 0x01, 0x0F), ProductLine.MILAN),
        (0x19, (0x10, 0x11, 0x1F, 0xA0, 0xAF), ProductLine.GENOA),
        (0x1A, (0x00, 0x02, 0x11), ProductLine.TURIN),
    ],
)
def test_product_line(family: int, models: tuple[int, ...], line: ProductLine) -> None:
    for model in models:
        assert parse_report(unsigned(cpuid_fam_id=family, cpuid_mod_id=model)).product_line is line


# The neighbours of each range; Venice, whose root is not pinned; Naples and Rome, which have no SNP; nothing at all.
@pytest.mark.parametrize(
    ("family", "model"),
    [(0x19, 0x20), (0x19, 0x9F), (0x19, 0xB0), (0x1A, 0x12), (0x1A, 0x50), (0x17, 0x01), (0x17, 0x31), (0, 0)],
)
def test_unknown_processor(family: int, model: int) -> None:
    with malformed(Reason.SNP_CPUID):
        parse_report(unsigned(cpuid_fam_id=family, cpuid_mod_id=model))


@pytest.mark.parametrize("offset", [*range(0x2D0, 0x2E8), *range(0x318, 0x330)])
def test_signature_of_more_than_48_bytes(offset: int) -> None:
    with malformed(Reason.SNP_REPORT_SIGNATURE):
        parse_report(put(REPORT, offset, b"\x01"))


def test_tcb_layouts() -> None:
    raw = bytes((1, 2, 0, 0, 0, 0, 3, 4))
    assert tcb_version(raw, ProductLine.MILAN) == tcb_version(raw, ProductLine.GENOA) == TcbVersion(None, 1, 2, 3, 4)
    assert tcb_version(turin_tcb(1, 2, 3, 4, 5), ProductLine.TURIN) == TcbVersion(1, 2, 3, 4, 5)


@pytest.mark.parametrize(
    ("line", "reserved"),
    [(ProductLine.MILAN, (2, 3, 4, 5)), (ProductLine.GENOA, (2, 3, 4, 5)), (ProductLine.TURIN, (4, 5, 6))],
)
def test_reserved_bytes_of_a_tcb_version(line: ProductLine, reserved: tuple[int, ...]) -> None:
    for index in range(8):
        raw = put(bytes(8), index, b"\x01")
        if index in reserved:
            with malformed(Reason.SNP_RESERVED):
                tcb_version(raw, line)
        else:
            assert sum(level or 0 for level in tcb_version(raw, line)) == 1


def test_tcb_versions_compare_part_by_part() -> None:
    """A later part never makes up for an earlier one (S22)."""
    version = TcbVersion(None, 10, 1, 23, 84)
    parts: dict[str, Any] = {"bootloader": 10, "tee": 1, "snp": 23, "microcode": 84}
    for name, spl in parts.items():
        newer_elsewhere = TcbVersion(None, *(99 for _ in parts))._replace(**{name: spl - 1})
        assert not newer_elsewhere.covers(version)
        assert version._replace(**{name: spl + 1}).covers(version)
        assert not version.covers(version._replace(**{name: spl + 1}))
    assert version.covers(version)
    turin = TcbVersion(2, 1, 1, 4, 81)
    assert (turin.covers(turin._replace(fmc=1)), turin.covers(turin._replace(fmc=3))) == (True, False)


@given(st.binary(min_size=REPORT_SIZE, max_size=REPORT_SIZE))
def test_any_bytes_are_malformed_or_a_report(raw: bytes) -> None:
    with suppress(Malformed):
        parse_report(raw)


@given(
    st.sampled_from((unsigned(), unsigned(version=2), unsigned(**TURIN))),
    st.integers(0, REPORT_SIZE - 1),
    st.binary(min_size=1, max_size=96),
)
def test_any_patch_is_malformed_or_a_report(raw: bytes, offset: int, patch: bytes) -> None:
    try:
        parsed = parse_report(put(raw, offset, patch)[:REPORT_SIZE])
    except Malformed:
        return
    assert len(parsed.signature) == 96


def test_a_signature_is_not_looked_at() -> None:
    assert parse_report(with_signature(REPORT, 1, 2)).signed == parse_report(REPORT).signed
