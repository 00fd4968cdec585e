"""Policy files: one document loads, and every other one near it is refused by the path of what is wrong with it."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest

from attestd.binding.keys import KeyAlgorithm
from attestd.claims import Flag, PckCa, TcbStatus
from attestd.errors import ConfigurationRefused, Reason
from attestd.evidence import MAX_POLICY_SIZE, Scheme
from attestd.policy import AppraisalPolicy
from tests.policy.factory import MODEL, REGISTERS, SGX, TDX, image, load, status, text

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
    assert tdx.images is not None
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
    assert policy.tdx.images is not None
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
    assert policy.sgx.images is not None
    assert [(dict(found.pins), found.min_isvsvn) for found in policy.sgx.images] == [
        ({"mrenclave": b"e" * 32}, 0),
        ({"mrsigner": b"g" * 32, "isvprodid": 7}, 5),
        ({"image_digest": b"d" * 32}, 1),
    ]
    assert policy.tees == ("sgx",)


@pytest.mark.parametrize("fields", [TDX, SGX], ids=["tdx", "sgx"])
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
@pytest.mark.parametrize("fields", [TDX, SGX], ids=["tdx", "sgx"])
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
