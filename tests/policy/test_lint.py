"""Lint: what loads and is still worth a second look, each remark alone."""

from datetime import timedelta

import pytest

from attestd.claims import Flag
from attestd.policy import lint
from attestd.policy.lint import HARMLESS_FLAGS, LONG_GRACE
from tests.policy.factory import MODEL, REGISTERS, SGX, TDX, image, load, status

DIGEST = "ab" * 32
END = "2027-01-01T00:00:00Z"
ONE = image(not_after=END, image_digest=bytes.fromhex(DIGEST))
ENCLAVE = image(not_after=END, mrenclave=b"e" * 32, mrsigner='"any"', isvprodid='"any"', min_isvsvn=0)

TIGHT = {
    "bindings": '["attestd/v1"]',
    "key_algorithms": '["Ed25519"]',
    "models": f'["sha256:{MODEL.hex()}"]',
    "max_age_seconds": "3600",
}
STRICT_TDX = (
    TDX
    | TIGHT
    | {
        "tdx.mrservicetd": '"zero"',
        "tdx.images": f"[{ONE}]",
        "tdx.tcb.min_evaluation_data_number": "18",
    }
)
STRICT_SGX = SGX | TIGHT | {"sgx.images": f"[{ENCLAVE}]", "sgx.tcb.min_evaluation_data_number": "18"}

OUT_OF_DATE = "tdx.tcb.statuses.OutOfDate"
WEIGHED = '["INTEL-SA-00960"]'
SERVICE_TD = f'["{"ab" * 48}"]'


def test_nothing_is_said_of_a_policy_that_pins_everything() -> None:
    assert lint(load(STRICT_TDX)) == lint(load(STRICT_SGX)) == ()


@pytest.mark.parametrize(
    ("edits", "member"),
    [
        ({"allow_debug": "true"}, "allow_debug"),
        ({"bindings": '"any"'}, "bindings"),
        ({"key_algorithms": '"any"'}, "key_algorithms"),
        ({"models": '"any"'}, "models"),
        ({"max_age_seconds": '"any"'}, "max_age_seconds"),
        ({"tdx.flags": '"any"'}, "tdx.flags"),
        ({"tdx.flags": '["migratable"]'}, "tdx.flags"),
        ({"tdx.flags": '["service_td_bound"]', "tdx.mrservicetd": SERVICE_TD}, "tdx.flags"),
        ({"tdx.mrservicetd": '"any"'}, "tdx.mrservicetd"),
        ({"tdx.mrservicetd": SERVICE_TD}, "tdx.mrservicetd"),
        ({"tdx.images": '"any"'}, "tdx.images"),
        ({"tdx.images": f"[{image(image_digest=bytes(32))}]"}, "tdx.images"),
        (
            {"tdx.images": f"[{image(not_after=END, **{**REGISTERS, 'rtmr3': chr(34) + 'any' + chr(34)})}]"},
            "tdx.images",
        ),
        ({"tdx.denied_measurements": f'["{DIGEST}"]'}, "tdx.denied_measurements"),
        ({"tdx.tcb.min_evaluation_data_number": '"any"'}, "tdx.tcb.min_evaluation_data_number"),
        (status("UpToDate", grace="86400"), "tdx.tcb.statuses.UpToDate"),
        (status("OutOfDate", advisories=WEIGHED), OUT_OF_DATE),
        (status("OutOfDate", grace="60"), OUT_OF_DATE),
        (status("OutOfDate", grace=str(91 * 86400), advisories=WEIGHED), OUT_OF_DATE),
        (
            {
                "tdx.tcb.statuses.UpToDate.grace_seconds": None,
                "tdx.tcb.statuses.UpToDate.advisories": None,
                **status("OutOfDate", grace="60", advisories=WEIGHED),
            },
            "tdx.tcb.statuses",
        ),
        (
            {"tdx.platform.ppids": f'["{DIGEST}"]', "tdx.platform.denied_ppids": f'["{DIGEST}"]'},
            "tdx.platform.denied_ppids",
        ),
    ],
)
def test_one_thing_lax_is_one_remark(edits: dict[str, str | None], member: str) -> None:
    (remark,) = lint(load(STRICT_TDX, edits))
    assert remark.partition(": ")[0] == member


def test_a_flag_for_service_tds_contradicts_a_policy_without_them() -> None:
    weakens, contradicts = lint(load(STRICT_TDX, {"tdx.flags": '["service_td_bound"]'}))[::-1]
    assert weakens.startswith("tdx.flags: service_td_bound weakens")
    assert contradicts.startswith("tdx.flags: service_td_bound is accepted, but mrservicetd wants none")


def test_what_an_image_leaves_open_is_named() -> None:
    pins = {**REGISTERS, "rtmr3": '"any"', "mrconfigid": '"any"'}
    (remark,) = lint(load(STRICT_TDX, {"tdx.images": f"[{image(not_after=END, **pins)}]"}))
    assert remark == "tdx.images: one leaves rtmr3, mrconfigid open"


def test_a_grace_of_just_the_length_is_not_long() -> None:
    edits = status("OutOfDate", grace=str(LONG_GRACE // timedelta(seconds=1)), advisories=WEIGHED)
    assert lint(load(STRICT_TDX, edits)) == ()


def test_harmless_flags_are_not_remarked() -> None:
    harmless = ", ".join(f'"{flag}"' for flag in HARMLESS_FLAGS)
    assert lint(load(STRICT_TDX, {"tdx.flags": f"[{harmless}]"})) == ()
    assert Flag.DEBUG not in HARMLESS_FLAGS


@pytest.mark.parametrize(
    ("written", "remark"),
    [
        (image(not_after=END, mrenclave='"any"', mrsigner=b"g" * 32, isvprodid='"any"', min_isvsvn=0), "any isvprodid"),
        (image(not_after=END, mrenclave='"any"', mrsigner='"any"', isvprodid=7, min_isvsvn=0), "any mrsigner"),
        (
            image(not_after=END, mrenclave='"any"', mrsigner=b"g" * 32, isvprodid=7, min_isvsvn=0),
            "every enclave of this product",
        ),
    ],
)
def test_an_enclave_that_is_not_pinned_itself_is_remarked(written: str, remark: str) -> None:
    assert lint(load(STRICT_SGX, {"sgx.images": f"[{written}]"})) == (f"sgx.images: one accepts {remark}",)


def test_an_enclave_pinned_by_digest_is_not_remarked() -> None:
    written = image(not_after=END, image_digest=bytes(32), min_isvsvn=0)
    assert lint(load(STRICT_SGX, {"sgx.images": f"[{written}]"})) == ()
