"""Policy files: one document loads, and every other one near it is refused by the path of what is wrong with it."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest

from attestd.binding.keys import KeyAlgorithm
from attestd.claims import FirmwareVersion, Flag, PckCa, ProductLine, TcbStatus
from attestd.errors import ConfigurationRefused, Reason
from attestd.evidence import MAX_POLICY_SIZE, Scheme
from attestd.policy import AppraisalPolicy
from tests.policy.factory import (
    MODEL,
    REGISTERS,
    SGX,
    SNP,
    SNP_CLAIMS,
    TDX,
    floor,
    image,
    load,
    pcr_rule,
    status,
    tcb,
    text,
)

DIGEST = "04b3afd931d28680af91a15b09d672c40ad6b141f7f9089a8d67d595220f7436"
REGISTER = "ab" * 48
PROXY = image(role='"proxy"', not_after="2027-01-01T01:00:00+01:00", **REGISTERS)


def refused(raw: str | bytes) -> ConfigurationRefused:
    with pytest.raises(ConfigurationRefused) as caught:
        AppraisalPolicy.load(raw if isinstance(raw, bytes) else raw.encode())
    assert caught.value.reason is Reason.POLICY_MALFORMED
    assert len(str(caught.value)) < 600
    return caught.value


def place(error: ConfigurationRefused) -> str:
    return str(error).split(" at ", 1)[1].split("; wanted")[0]


def test_everything_is_kept_as_it_was_written() -> None:
    edits = {
        "bindings": '["attestd/v1", "cocoon"]',
        "key_algorithms": '["Ed25519", "P-256"]',
        "models": f'["sha256:{MODEL.hex()}"]',
        "max_age_seconds": "3600",
        "max_collateral_age_seconds": "86400",
        "allow_debug": "true",
        "tdx.flags": '["pks"]',
        "tdx.mrseam": f'["{REGISTER}"]',
        "tdx.mrsignerseam": '"zero"',
        "tdx.mrservicetd": f'["{REGISTER}"]',
        "tdx.xfam_required": "[0, 1]",
        "tdx.xfam_forbidden": "[63]",
        "tdx.event_log": '"required"',
        "tdx.trailing_bytes": '"none"',
        "tdx.denied_measurements": f'["{REGISTER}", "{DIGEST}"]',
        "tdx.images": f"[{PROXY}]",
        **status("OutOfDate", grace="60", advisories='["INTEL-SA-00960"]'),
        "tdx.tcb.denied_advisories": '["INTEL-DOC-10001"]',
        "tdx.tcb.min_evaluation_data_number": "17",
        "tdx.platform.pck_ca": '["platform"]',
        "tdx.platform.sgx_types": '["Scalable", "ScalableWithIntegrity"]',
        "tdx.platform.smt_enabled": "false",
        "tdx.platform.denied_fmspcs": '["00806F050000"]',
        "tdx.platform.ppids": f'["{DIGEST}"]',
        "tdx.platform.denied_ppids": f'["{DIGEST}"]',
    }
    policy = load(edits=edits)
    assert (policy.name, policy.version, policy.description) == ("test", 1, "For tests")
    assert policy.digest == sha256(text(TDX, edits).encode()).digest()
    assert policy.bindings == frozenset({Scheme.ATTESTD_V1, Scheme.COCOON})
    assert policy.key_algorithms == frozenset({KeyAlgorithm.ED25519, KeyAlgorithm.P256})
    assert policy.models == frozenset({MODEL})
    assert policy.max_age == timedelta(hours=1)
    assert policy.max_collateral_age == timedelta(days=1)
    assert policy.allow_debug is True
    assert policy.tees == ("tdx",)
    assert policy.sgx is None
    tdx = policy.tdx
    assert tdx is not None
    assert tdx.flags == frozenset({Flag.PKS})
    assert tdx.mrseam == tdx.mrservicetd == frozenset({bytes.fromhex(REGISTER)})
    assert tdx.mrsignerseam == frozenset({bytes(48), None})
    assert (tdx.xfam_required, tdx.xfam_forbidden) == (frozenset({0, 1}), frozenset({63}))
    assert tdx.event_log_required
    assert tdx.trailing_bytes == frozenset({0})
    assert tdx.denied_measurements == frozenset({bytes.fromhex(REGISTER), bytes.fromhex(DIGEST)})
    assert isinstance(tdx.images, tuple)
    assert (tdx.images[0].name, tdx.images[0].role) == ("one", "proxy")
    assert tdx.images[0].not_after == datetime(2027, 1, 1, tzinfo=UTC)
    assert dict(tdx.images[0].pins) == REGISTERS
    assert tdx.tcb.statuses[TcbStatus.OUT_OF_DATE].grace == timedelta(seconds=60)
    assert tdx.tcb.statuses[TcbStatus.OUT_OF_DATE].advisories == frozenset({"INTEL-SA-00960"})
    assert tdx.tcb.statuses[TcbStatus.UP_TO_DATE].advisories is None
    assert tdx.tcb.denied_advisories == frozenset({"INTEL-DOC-10001"})
    assert tdx.tcb.min_evaluation_data_number == 17
    assert tdx.platform.pck_cas == frozenset({PckCa.PLATFORM})
    assert tdx.platform.sgx_types == frozenset({"Scalable", "ScalableWithIntegrity"})
    assert tdx.platform.smt_enabled == frozenset({False})
    assert tdx.platform.cached_keys is None
    assert tdx.platform.denied_fmspcs == frozenset({bytes.fromhex("00806f050000")})
    assert tdx.platform.ppids == tdx.platform.denied_ppids == frozenset({bytes.fromhex(DIGEST)})


def test_names_are_no_words() -> None:
    written = image("any", image_digest=bytes(32))
    policy = load(edits={"name": '"any"', "description": '"any"', "tdx.images": f"[{written}]"})
    assert (policy.name, policy.description) == ("any", "any")
    assert policy.tdx is not None
    assert isinstance(policy.tdx.images, tuple)
    assert policy.tdx.images[0].name == "any"


def test_limits_are_included() -> None:
    edits = {"name": f'"{"a" * 64}"', "version": str(2**31 - 1), "description": f'"{"." * 16}{"a" * 484}"'}
    raw = text(TDX, edits).encode()
    full = raw + b"\n" + b"#" * (MAX_POLICY_SIZE - len(raw) - 1)
    assert AppraisalPolicy.load(full).digest == sha256(full).digest()
    refused(full + b"#")


def test_sgx_images_pin_the_enclave_or_its_product() -> None:
    one = image(mrenclave=b"e" * 32, mrsigner='"any"', isvprodid='"any"', min_isvsvn=0)
    two = image("two", mrenclave='"any"', mrsigner=b"g" * 32, isvprodid=7, min_isvsvn=5)
    three = image("three", image_digest=b"d" * 32, min_isvsvn=1)
    policy = load(SGX, {"sgx.images": f"[{one}, {two}, {three}]"})
    assert policy.sgx is not None
    assert isinstance(policy.sgx.images, tuple)
    assert [(dict(found.pins), found.min_svn) for found in policy.sgx.images] == [
        ({"mrenclave": b"e" * 32}, ("isvsvn", 0)),
        ({"mrsigner": b"g" * 32, "isvprodid": 7}, ("isvsvn", 5)),
        ({"image_digest": b"d" * 32}, ("isvsvn", 1)),
    ]
    assert policy.tees == ("sgx",)


@pytest.mark.parametrize(("written", "meant"), [('"registered"', "registered"), ('"any"', None)])
def test_a_word_may_stand_in_place_of_images(written: str, meant: str | None) -> None:
    tdx, sgx = load(edits={"tdx.images": written}).tdx, load(SGX, {"sgx.images": written}).sgx
    snp = load(SNP, {"snp.images": written}).snp
    assert tdx is not None
    assert sgx is not None
    assert snp is not None
    assert tdx.images == sgx.images == snp.images == meant


@pytest.mark.parametrize("fields", [TDX, SGX, SNP], ids=["tdx", "sgx", "snp"])
def test_every_member_must_be_there(fields: dict[str, str]) -> None:
    for path in fields:
        assert place(refused(text(fields, {path: None}))) == path


@pytest.mark.parametrize(
    "path",
    ["alowed_mrtd", "tdx.alowed_mrtd", "tdx.tcb.grace", "tdx.platform.ppid", "tdx.tcb.statuses.UpToDate.gracé"],
)
def test_an_unknown_member_is_refused_and_named_where_it_is_plain(path: str) -> None:
    """P09."""
    table, _, name = path.rpartition(".")
    quoted = f"{table}.'{name}'" if table else f"'{name}'"
    error = refused(text(TDX, {quoted: "1"}))
    assert "the unknown member" in str(error)
    assert (name in str(error)) == name.isascii()
    assert place(error) == (table or "the top level")


EMPTY = ["[]", '[""]', '["*"]', '""', '"*"', "{}", "0.5", "1979-05-27", '["any"]', "[[]]"]


@pytest.mark.parametrize("value", EMPTY)
@pytest.mark.parametrize("fields", [TDX, SGX, SNP], ids=["tdx", "sgx", "snp"])
def test_emptiness_wildcards_and_other_types_are_refused_everywhere(fields: dict[str, str], value: str) -> None:
    """P07."""
    for path in fields:
        if path == "description" and value == '"*"':
            continue  # prose
        assert place(refused(text(fields, {path: value}))).startswith(path)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", '"Test"'),
        ("name", '"-test"'),
        ("name", f'"{"a" * 65}"'),
        ("name", '"test\\n"'),
        ("version", "0"),
        ("version", "-1"),
        ("version", "1.0"),
        ("version", "true"),
        ("version", '"1"'),
        ("version", "2147483648"),
        ("version", "0x" + "f" * 5000),
        ("version", '"any"'),
        ("description", '"two\\nlines"'),
        ("description", '"\\u202e"'),
        ("description", f'"{"a" * 501}"'),
        ("bindings", '["attestd/v2"]'),
        ("bindings", '["attestd/v1", "attestd/v1"]'),
        ("bindings", '"attestd/v1"'),
        ("bindings", '"none"'),
        ("key_algorithms", '["ed25519"]'),
        ("models", f'["{"ab" * 32}"]'),
        ("models", f'["sha256:{"ab" * 31}"]'),
        ("models", "[1]"),
        ("models", '"Registered"'),
        ("max_age_seconds", "0"),
        ("max_age_seconds", '"3600"'),
        ("max_age_seconds", "315360001"),
        ("allow_debug", "1"),
        ("allow_debug", '"any"'),
        ("tdx.flags", '["debug"]'),
        ("tdx.flags", '["PKS"]'),
        ("tdx.flags", '["chip_id_masked"]'),
        ("tdx.mrseam", '"zero"'),
        ("tdx.mrseam", f'"{REGISTER}"'),
        ("tdx.mrsignerseam", '"Zero"'),
        ("tdx.xfam_required", "[64]"),
        ("tdx.xfam_required", "[-1]"),
        ("tdx.xfam_required", "[true]"),
        ("tdx.xfam_required", "[1, 1]"),
        ("tdx.xfam_required", '"any"'),
        ("tdx.event_log", "true"),
        ("tdx.event_log", '"none"'),
        ("tdx.trailing_bytes", '"zero"'),
        ("tdx.images", '"none"'),
        ("tdx.images", '"Registered"'),
        ("tdx.images", '["registered"]'),
        ("tdx.images", "[{}, 1]"),
        ("tdx.denied_measurements", '"any"'),
        ("tdx.tcb.denied_advisories", '["INTEL-SA-960"]'),
        ("tdx.tcb.denied_advisories", '["intel-sa-00960"]'),
        ("tdx.tcb.min_evaluation_data_number", '"18"'),
        ("tdx.tcb.min_evaluation_data_number", "0"),
        ("tdx.platform.pck_ca", '["root"]'),
        ("tdx.platform.sgx_types", '["scalable"]'),
        ("tdx.platform.smt_enabled", '"true"'),
        ("tdx.platform.denied_fmspcs", '["00806f0500"]'),
        ("tdx.platform.ppids", '["000102030405060708090a0b0c0d0e0f"]'),
    ],
)
def test_a_value_of_another_type_or_vocabulary_is_refused(path: str, value: str) -> None:
    """P10: a string of digits is no number."""
    assert place(refused(text(TDX, {path: value}))).startswith(path)


@pytest.mark.parametrize(
    "digits",
    [REGISTER[:-2], REGISTER + "ab", REGISTER[:-1], "0x" + REGISTER[2:], " " + REGISTER[1:], REGISTER[:-1] + "g"],
)
@pytest.mark.parametrize("path", ["tdx.mrseam", "tdx.mrservicetd", "tdx.denied_measurements"])
def test_measurements_have_their_exact_length_and_nothing_but_digits(path: str, digits: str) -> None:
    """P08."""
    assert place(refused(text(TDX, {path: f'["{digits}"]'}))) == f"{path}[0]"


def test_measurements_are_read_in_either_case_and_are_then_the_same() -> None:
    """P08."""
    upper = load(edits={"tdx.mrseam": f'["{REGISTER.upper()}"]'})
    assert upper.tdx is not None
    assert upper.tdx.mrseam == frozenset({bytes.fromhex(REGISTER)})
    assert place(refused(text(TDX, {"tdx.mrseam": f'["{REGISTER}", "{REGISTER.upper()}"]'}))) == "tdx.mrseam"


def test_revoked_cannot_be_listed() -> None:
    """P01."""
    error = refused(text(TDX, status("Revoked")))
    assert (place(error), error.found) == ("tdx.tcb.statuses", '"Revoked" at tdx.tcb.statuses')


def test_some_status_must_be_listed() -> None:
    nothing: dict[str, str | None] = dict.fromkeys(status("UpToDate"))
    assert place(refused(text(TDX, nothing))) == "tdx.tcb.statuses"
    assert "an empty table" in str(refused(text(TDX, {**nothing, "tdx.tcb.statuses": "{}"})))
    assert "a list of 1" in str(refused(text(TDX, {**nothing, "tdx.tcb.statuses": '["UpToDate"]'})))
    assert place(refused(text(TDX, {**nothing, "tdx.tcb.statuses.UpToDate": '"any"'}))) == "tdx.tcb.statuses.UpToDate"


def test_some_section_must_be_there() -> None:
    bare: dict[str, str | None] = {path: None for path in TDX if "." in path}
    error = refused(text(TDX, bare))
    assert error.found == "no section for any TEE at the top level"


def test_xfam_bits_cannot_be_both_required_and_forbidden() -> None:
    error = refused(text(TDX, {"tdx.xfam_required": "[2, 9, 0]", "tdx.xfam_forbidden": "[9, 63, 2]"}))
    assert error.found == "bit 2, which is required too at tdx.xfam_forbidden"


ANYTHING = dict.fromkeys(REGISTERS, '"any"')


@pytest.mark.parametrize(
    ("written", "path"),
    [
        (image(**ANYTHING), "tdx.images[0]"),
        (image(image_digest='"any"'), "tdx.images[0].image_digest"),
        (image(image_digest=b"d" * 48), "tdx.images[0].image_digest"),
        (image(image_digest=b"d" * 32, **REGISTERS), "tdx.images[0]"),
        (image(mrtd=b"t" * 48), "tdx.images[0].rtmr0"),
        (image(**{**REGISTERS, "mrtd": b"t" * 32}), "tdx.images[0].mrtd"),
        (image(image_digest=b"d" * 32, min_isvsvn=1), "tdx.images[0]"),
        (image("", image_digest=b"d" * 32), "tdx.images[0].name"),
        (image(role='"router"', image_digest=b"d" * 32), "tdx.images[0].role"),
        (image(not_after='"2027-01-01T00:00:00Z"', image_digest=b"d" * 32), "tdx.images[0].not_after"),
        (image(not_after="2027-01-01T00:00:00", image_digest=b"d" * 32), "tdx.images[0].not_after"),
        (image(not_after="0001-01-01T00:00:00+01:00", image_digest=b"d" * 32), "tdx.images[0].not_after"),
    ],
)
def test_an_image_is_a_tuple_of_measurements_in_one_of_two_forms(written: str, path: str) -> None:
    assert place(refused(text(TDX, {"tdx.images": f"[{written}]"}))) == path


@pytest.mark.parametrize(
    ("written", "path"),
    [
        (image(mrenclave='"any"', mrsigner='"any"', isvprodid='"any"', min_isvsvn=9), "sgx.images[0]"),
        (image(mrenclave='"any"', mrsigner='"any"', isvprodid=65536, min_isvsvn=9), "sgx.images[0].isvprodid"),
        (image(image_digest=b"d" * 32), "sgx.images[0].min_isvsvn"),
        (image(image_digest=b"d" * 32, min_isvsvn='"any"'), "sgx.images[0].min_isvsvn"),
    ],
)
def test_an_sgx_image_pins_something_and_a_security_version(written: str, path: str) -> None:
    assert place(refused(text(SGX, {"sgx.images": f"[{written}]"}))) == path


def test_images_have_names_of_their_own() -> None:
    two = f"[{image(image_digest=b'd' * 32)}, {image(image_digest=b'e' * 32)}]"
    assert place(refused(text(TDX, {"tdx.images": two}))) == "tdx.images"


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (b"\xff", "other bytes at byte 0"),
        (b"name = null", "a syntax error: "),
        (b"name = 1\nname = 2", "a syntax error: "),
        (b"[a]\n[a]", "a syntax error: "),
        ("[é]".encode(), "a syntax error: "),
        (b'["\xc3\xa9"]\n["\xc3\xa9"]', "a syntax error at line 2, column "),
        (b"a = !!python/object:os.system", "a syntax error: "),
        (b"a: &a [*a, *a]", "a syntax error: "),
        (b"a = " + b"[" * 5000, "a syntax error at the document"),
        (b"a = " + b"9" * 5000, "a syntax error at the document"),
        (b"#" * (MAX_POLICY_SIZE + 1), "65537 bytes at the document"),
        (b"name = 1\n" + b"a." * 20 + b"a = 1", "too many dots at line 2"),
    ],
)
def test_what_is_no_toml_or_too_much_of_it_is_refused(raw: bytes, found: str) -> None:
    """P13."""
    assert refused(raw).found.startswith(found)


def test_a_section_must_be_a_table() -> None:
    bare: dict[str, str | None] = {path: None for path in TDX if "." in path}
    assert refused(text(TDX, {**bare, "tdx": "true"})).found == "true at tdx"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ('"3\\u001b[31m"', "a string of 6 characters"),
        ("999999999999999", "a huge integer"),
        ("2147483648", "2147483648"),
        ("1.5", "a float"),
        ("1979-05-27T00:00:00Z", "a datetime"),
        ("[1, 2]", "a list of 2"),
        ("[]", "an empty list"),
        ("{}", "a table"),
        ("true", "true"),
    ],
)
def test_what_was_found_is_told_in_plain_characters(value: str, found: str) -> None:
    assert refused(text(TDX, {"version": value})).found == f"{found} at version"


# SEV-SNP

PINS = {name: getattr(SNP_CLAIMS, name) for name in ("measurement", "host_data", "family_id", "image_id")}
BERGAMO = {"family": 0x19, "first_model": "0xa0", "last_model": "0xa1"}


def test_everything_of_snp_is_kept_as_it_was_written() -> None:
    edits = {
        "snp.versions": "[3, 5]",
        "snp.product_lines": '["Genoa", "Turin"]',
        "snp.signing_keys": '["vlek"]',
        "snp.csp_ids": '["CN=cc-us-east-2.amazonaws.com"]',
        "snp.crl": '"require"',
        "snp.flags": '["chip_id_masked"]',
        "snp.chip_ids": f'["{DIGEST}"]',
        "snp.denied_chip_ids": f'["{DIGEST}"]',
        **tcb(floor(BERGAMO, snp=27, microcode=200), floor({"product_line": '"Turin"'}, fmc=1, advisories='"none"')),
        "snp.min_current_version": '"1.55.40"',
        "snp.min_committed_version": '"0.0.255"',
        "snp.launch_mit_vector": "[0, 63]",
        "snp.current_mit_vector": "[3]",
        "snp.platform_info.required": '["ecc", "tio"]',
        "snp.platform_info.forbidden": '["smt"]',
        "snp.platform_info.unknown": '"none"',
        "snp.guest_policy.required": '["single_socket"]',
        "snp.guest_policy.forbidden": '["cxl_allow", "smt"]',
        "snp.guest_policy.min_abi": '"1.55"',
        "snp.vmpl": "[0, 1]",
        "snp.report_id_ma": f'["{DIGEST}"]',
        "snp.id_key_digests": f'["{REGISTER}"]',
        "snp.author_key_digests": f'["{REGISTER}"]',
        **pcr_rule({23: (b"x" * 32, b"y" * 32), 4: (bytes(32),)}),
        "snp.images": f"[{image(**PINS, min_guest_svn=2**32 - 1)}]",
        "snp.denied_measurements": f'["{REGISTER}", "{DIGEST}"]',
    }
    policy = load(SNP, edits)
    assert policy.tees == ("snp",)
    assert policy.tdx is None
    assert policy.sgx is None
    snp = policy.snp
    assert snp is not None
    assert snp.versions == frozenset({3, 5})
    assert snp.product_lines == frozenset({ProductLine.GENOA, ProductLine.TURIN})
    assert snp.signing_keys == frozenset({"vlek"})
    assert snp.csp_ids == frozenset({"CN=cc-us-east-2.amazonaws.com", None})
    assert snp.crl_required
    assert snp.flags == frozenset({Flag.CHIP_ID_MASKED})
    assert snp.chip_ids == snp.denied_chip_ids == snp.report_id_ma == frozenset({bytes.fromhex(DIGEST)})
    assert snp.tcb is not None
    assert (snp.tcb.table, snp.tcb.versions) == ("test 1", frozenset({"reported", "committed", "current", "launch"}))
    models, line = snp.tcb.floors
    assert models.processors == ((0x19, 0xA0), (0x19, 0xA1))
    assert (models.levels, models.advisories) == ((("snp", 27), ("microcode", 200)), ("AMD-SB-3019",))
    assert (line.processors, line.levels, line.advisories) == ((ProductLine.TURIN,), (("fmc", 1),), ())
    assert snp.min_current_version == FirmwareVersion(1, 55, 40)
    assert snp.min_committed_version == FirmwareVersion(0, 0, 255)
    assert (snp.launch_mit_vector, snp.current_mit_vector) == (frozenset({0, 63}), frozenset({3}))
    assert (snp.platform_info.required, snp.platform_info.forbidden) == (frozenset({"ecc", "tio"}), frozenset({"smt"}))
    assert not snp.unknown_platform_info
    assert snp.guest_policy.required == frozenset({"single_socket"})
    assert snp.guest_policy.forbidden == frozenset({"cxl_allow", "smt"})
    assert snp.min_guest_abi == (1, 55)
    assert snp.vmpl == frozenset({0, 1})
    assert snp.id_key_digests == snp.author_key_digests == frozenset({bytes.fromhex(REGISTER)})
    assert snp.vtpm_pcrs == {4: frozenset({bytes(32)}), 23: frozenset({b"x" * 32, b"y" * 32})}
    assert list(snp.vtpm_pcrs) == [4, 23]
    assert isinstance(snp.images, tuple)
    assert dict(snp.images[0].pins) == PINS
    assert snp.images[0].min_svn == ("guest_svn", 2**32 - 1)
    assert snp.denied_measurements == frozenset({bytes.fromhex(REGISTER), bytes.fromhex(DIGEST)})


def test_a_guest_without_a_migration_agent_is_a_value_of_its_own() -> None:
    snp = load(SNP, {"snp.report_id_ma": '"none"'}).snp
    assert snp is not None
    assert snp.report_id_ma == frozenset({b"\xff" * 32})


@pytest.mark.parametrize(("written", "meant"), [('"none"', {}), ('"any"', None)])
def test_a_word_may_stand_in_place_of_pcrs(written: str, meant: object) -> None:
    snp = load(SNP, {"snp.vtpm_pcrs": written}).snp
    assert snp is not None
    assert snp.vtpm_pcrs == meant


@pytest.mark.parametrize(
    ("written", "path", "found"),
    [
        ('"None"', "", '"None"'),
        ("true", "", "true"),
        (f'["{DIGEST}"]', "", "a list of 1"),
        ("{}", "", "an empty table"),
        (f'{{ "24" = ["{DIGEST}"] }}', "", 'the unknown member "24"'),
        (f'{{ "04" = ["{DIGEST}"] }}', "", 'the unknown member "04"'),
        (f'{{ "-1" = ["{DIGEST}"] }}', "", 'the unknown member "-1"'),
        (f'{{ "PCR4" = ["{DIGEST}"] }}', "", 'the unknown member "PCR4"'),
        ('{ "4" = [] }', ".4", "an empty list"),
        ('{ "4" = "any" }', ".4", '"any"'),
        ('{ "4" = "none" }', ".4", '"none"'),
        (f'{{ "4" = "{DIGEST}" }}', ".4", f'"{DIGEST}"'),
        (f'{{ "4" = ["{DIGEST}", "{DIGEST.upper()}"] }}', ".4", "a value that is listed twice"),
        (f'{{ "4" = ["{REGISTER}"] }}', ".4[0]", "a string of 96 characters"),
        (f'{{ "0" = ["{DIGEST}"], "4" = ["{DIGEST}", "{DIGEST[2:]}"] }}', ".4[1]", f'"{DIGEST[2:]}"'),
    ],
)
def test_pcrs_are_numbers_with_values_of_32_bytes(written: str, path: str, found: str) -> None:
    assert refused(text(SNP, {"snp.vtpm_pcrs": written})).found == f"{found} at snp.vtpm_pcrs{path}"


def test_the_words_in_place_of_pcrs_are_told() -> None:
    assert refused(text(SNP, {"snp.vtpm_pcrs": "1"})).wanted == 'a table; or "none"; or "any"'


@pytest.mark.parametrize("path", ["snp.tcb.table", "snp.tcb.versions", "snp.tcb.floors"])
def test_every_member_of_the_floors_must_be_there(path: str) -> None:
    assert place(refused(text(SNP, {**tcb(), path: None}))) == path


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("snp.versions", "[1]"),
        ("snp.versions", "[6]"),
        ("snp.product_lines", '["milan"]'),
        ("snp.product_lines", '["Venice"]'),
        ("snp.signing_keys", '["VCEK"]'),
        ("snp.csp_ids", '"none"'),
        ("snp.csp_ids", '["\\n"]'),
        ("snp.crl", '"any"'),
        ("snp.crl", "true"),
        ("snp.flags", '["debug"]'),
        ("snp.flags", '["pks"]'),
        ("snp.chip_ids", f'["{bytes(64).hex()}"]'),
        ("snp.chip_ids", f'["{sha256(bytes(64)).hexdigest()}"]'),
        ("snp.denied_chip_ids", f'["{sha256(bytes(64)).hexdigest()}"]'),
        ("snp.denied_chip_ids", '"any"'),
        ("snp.tcb", '"none"'),
        ("snp.min_current_version", '"1.55"'),
        ("snp.min_current_version", '"1.55.256"'),
        ("snp.min_current_version", '"1.055.1"'),
        ("snp.min_current_version", '"1.55.40 "'),
        ("snp.min_current_version", "1.55"),
        ("snp.min_committed_version", '"1.55.40.0"'),
        ("snp.launch_mit_vector", "[64]"),
        ("snp.launch_mit_vector", '"any"'),
        ("snp.current_mit_vector", "[-1]"),
        ("snp.platform_info.required", '["SMT"]'),
        ("snp.platform_info.required", '["bit6"]'),
        ("snp.platform_info.forbidden", "[6]"),
        ("snp.platform_info.unknown", "true"),
        ("snp.guest_policy.required", '["debug"]'),
        ("snp.guest_policy.forbidden", '["migrate_ma"]'),
        ("snp.guest_policy.min_abi", '"1"'),
        ("snp.guest_policy.min_abi", '"1.55.40"'),
        ("snp.vmpl", "[4]"),
        ("snp.vmpl", '"none"'),
        ("snp.report_id_ma", f'"{DIGEST}"'),
        ("snp.id_key_digests", f'["{DIGEST}"]'),
        ("snp.author_key_digests", '"none"'),
        ("snp.denied_measurements", '["00"]'),
    ],
)
def test_a_value_of_snp_of_another_type_or_vocabulary_is_refused(path: str, value: str) -> None:
    assert place(refused(text(SNP, {path: value}))).startswith(path)


@pytest.mark.parametrize("field", ["platform_info", "guest_policy"])
def test_bits_cannot_be_both_required_and_forbidden(field: str) -> None:
    edits = {f"snp.{field}.required": '["smt", "rapl_dis"]', f"snp.{field}.forbidden": '["smt", "rapl_dis"]'}
    error = refused(text(SNP, edits))
    assert error.found == f"bit rapl_dis, which is required too at snp.{field}.forbidden"


@pytest.mark.parametrize(
    ("written", "path"),
    [
        (floor(), ""),
        (floor(snp=0), ".snp"),
        (floor(snp=256), ".snp"),
        (floor(snp='"none"'), ".snp"),
        (floor(snp=1, svn=1), ""),
        (floor({"family": 256, "first_model": 0, "last_model": 0}, snp=1), ".family"),
        (floor({"family": '"any"', "first_model": 0, "last_model": 0}, snp=1), ".family"),
        (floor({"family": 0x19, "first_model": 2, "last_model": 1}, snp=1), ".last_model"),
        (floor({"family": 0x19, "first_model": 2}, snp=1), ".last_model"),
        (floor({"family": 0x19, "first_model": 0, "last_model": 0, "product_line": '"Milan"'}, snp=1), ""),
        (floor({"product_line": '"any"'}, snp=1), ".product_line"),
        (floor(snp=1, advisories='"any"'), ".advisories"),
        (floor(snp=1, advisories='["INTEL-SA-00960"]'), ".advisories[0]"),
    ],
)
def test_a_floor_is_of_some_processors_and_demands_something(written: str, path: str) -> None:
    assert place(refused(text(SNP, tcb(written)))) == f"snp.tcb.floors[0]{path}"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("snp.tcb.table", '""'),
        ("snp.tcb.versions", '"any"'),
        ("snp.tcb.versions", '["lowest"]'),
        ("snp.tcb.floors", '"any"'),
        ("snp.tcb.floors", "[]"),
    ],
)
def test_floors_are_demanded_of_something(path: str, value: str) -> None:
    assert place(refused(text(SNP, {**tcb(), path: value}))).startswith(path)


@pytest.mark.parametrize(
    ("written", "path"),
    [
        (image(**dict.fromkeys(PINS, '"any"'), min_guest_svn=1), ""),
        (image(**PINS), ".min_guest_svn"),
        (image(**PINS, min_guest_svn=2**32), ".min_guest_svn"),
        (image(**PINS, min_isvsvn=1), ""),
        (image(**{**PINS, "measurement": bytes(32)}, min_guest_svn=0), ".measurement"),
        (image(measurement=bytes(48), min_guest_svn=0), ".host_data"),
        (image(image_digest='"any"', min_guest_svn=0), ".image_digest"),
    ],
)
def test_an_snp_image_pins_something_and_a_security_version(written: str, path: str) -> None:
    assert place(refused(text(SNP, {"snp.images": f"[{written}]"}))) == f"snp.images[0]{path}"
