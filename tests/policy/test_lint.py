"""Lint: what loads and is still worth a second look, each remark alone."""

from datetime import timedelta
from typing import Any

import pytest

from attestd.claims import Flag
from attestd.policy import lint
from attestd.policy.lint import HARMLESS_FLAGS, LONG_GRACE
from tests.policy.factory import GPU, MODEL, REGISTERS, SGX, SNP, TDX, floor, image, load, pcr_rule, status, tcb

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
        ({"tdx.images": '"registered"'}, "tdx.images"),
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


# SEV-SNP

GUEST = image(
    not_after=END, measurement=b"m" * 48, host_data='"any"', family_id='"any"', image_id='"any"', min_guest_svn=0
)
STRICT_SNP: dict[str, str] = {
    path: value
    for path, value in {
        **SNP,
        **TIGHT,
        **tcb(floor(snp=27)),
        "snp.product_lines": '["Genoa", "Turin"]',
        "snp.signing_keys": '["vcek"]',
        "snp.crl": '"require"',
        "snp.platform_info.required": '["alias_check_complete"]',
        "snp.vmpl": "[0]",
        "snp.report_id_ma": '"none"',
        "snp.vtpm_pcrs": '"none"',
        "snp.images": f"[{GUEST}]",
    }.items()
    if value is not None
}
WITHOUT_TCB: dict[str, str | None] = dict.fromkeys(path for path in STRICT_SNP if path.startswith("snp.tcb."))


def test_nothing_is_said_of_an_snp_policy_that_pins_everything() -> None:
    assert lint(load(STRICT_SNP)) == ()
    assert lint(load(STRICT_SNP, {"snp.flags": '["chip_id_masked"]', "snp.report_id_ma": '"any"'})) == ()
    assert lint(load(STRICT_SNP, {"max_collateral_age_seconds": "60"})) == ()


@pytest.mark.parametrize(
    ("edits", "member"),
    [
        ({"snp.product_lines": '"any"'}, "snp.product_lines"),
        ({"snp.product_lines": '["Milan"]'}, "snp.product_lines"),
        ({"snp.crl": '"if-available"'}, "snp.crl"),
        ({"snp.signing_keys": '"any"'}, "snp.csp_ids"),
        ({"snp.signing_keys": '["vcek", "vlek"]'}, "snp.csp_ids"),
        ({"snp.chip_ids": f'["{DIGEST}"]', "snp.denied_chip_ids": f'["{DIGEST}"]'}, "snp.denied_chip_ids"),
        ({"snp.denied_chip_ids": f'["{DIGEST}"]', "snp.flags": '["chip_id_masked"]'}, "snp.denied_chip_ids"),
        ({**WITHOUT_TCB, "snp.tcb": '"any"'}, "snp.tcb"),
        ({"snp.tcb.versions": '["current", "reported", "committed"]'}, "snp.tcb.versions"),
        ({"snp.platform_info.required": '["ecc"]'}, "snp.platform_info"),
        ({"snp.flags": '["provisional_firmware"]'}, "snp.flags"),
        ({"snp.flags": '["migrate_ma"]'}, "snp.flags"),
        ({"snp.vmpl": '"any"'}, "snp.vmpl"),
        ({"snp.report_id_ma": f'["{DIGEST}"]'}, "snp.report_id_ma"),
        ({"snp.vtpm_pcrs": '"any"'}, "snp.vtpm_pcrs"),
        ({"snp.images": '"any"'}, "snp.images"),
        ({"snp.images": '"registered"'}, "snp.images"),
        ({"snp.images": f"[{image(image_digest=bytes(32), min_guest_svn=0)}]"}, "snp.images"),
        ({"snp.denied_measurements": f'["{(b"m" * 48).hex()}"]'}, "snp.denied_measurements"),
    ],
)
def test_one_thing_lax_of_snp_is_one_remark(edits: dict[str, str | None], member: str) -> None:
    (remark,) = lint(load(STRICT_SNP, edits))
    assert remark.partition(": ")[0] == member


def test_every_flag_of_snp_that_weakens_is_remarked() -> None:
    remarks = lint(load(STRICT_SNP, {"snp.flags": '"any"'}))
    assert [remark.rpartition(": ")[0] for remark in remarks] == [
        "snp.flags: migrate_ma",
        "snp.flags: provisional_firmware",
    ]


def test_an_age_demands_a_crl_that_the_policy_does_not() -> None:
    age, crl = lint(load(STRICT_SNP, {"max_collateral_age_seconds": "60", "snp.crl": '"if-available"'}))
    assert age.startswith("max_collateral_age_seconds: ")
    assert crl.startswith("snp.crl: ")


def test_an_image_without_a_measurement_is_remarked() -> None:
    rest: dict[str, Any] = {"host_data": b"h" * 32, "family_id": b"f" * 16, "image_id": '"any"', "min_guest_svn": 0}
    written = image(not_after=END, measurement='"any"', **rest)
    (remark,) = lint(load(STRICT_SNP, {"snp.images": f"[{written}]"}))
    assert remark.startswith("snp.images: one accepts any measurement")
    by_digest = image(not_after=END, image_digest=bytes(32), min_guest_svn=0)
    assert lint(load(STRICT_SNP, {"snp.images": f"[{by_digest}]"})) == ()


UNMEASURED = image(
    "two",
    not_after=END,
    measurement='"any"',
    host_data='"any"',
    family_id=b"f" * 16,
    image_id='"any"',
    min_guest_svn=0,
)
ID_KEY = f'["{"ab" * 48}"]'
NO_ID_BLOCK = f'["{"ab" * 48}", "{"00" * 48}"]'


@pytest.mark.parametrize(
    ("edits", "open_"),
    [
        ({}, False),
        ({"snp.images": '"registered"'}, False),
        ({"snp.images": '"any"', "snp.id_key_digests": ID_KEY}, False),
        ({"snp.images": f"[{GUEST}, {UNMEASURED}]", "snp.id_key_digests": ID_KEY}, False),
        ({"snp.id_key_digests": NO_ID_BLOCK}, False),
        ({"snp.images": '"any"'}, True),
        ({"snp.images": f"[{GUEST}, {UNMEASURED}]"}, True),
        ({"snp.images": '"any"', "snp.id_key_digests": NO_ID_BLOCK}, True),
    ],
)
def test_pcrs_are_vouched_for_by_a_paravisor_that_is_pinned(edits: dict[str, str], open_: bool) -> None:
    pcrs = pcr_rule({4: (b"4" * 32,)})
    added = set(lint(load(STRICT_SNP, {**edits, **pcrs}))) - set(lint(load(STRICT_SNP, edits)))
    assert [remark.partition(": ")[0] for remark in added] == ["snp.vtpm_pcrs"] * open_


def test_registered_paravisors_with_any_pcrs_are_remarked() -> None:
    """Each by itself says less: together, one approval lets in whatever guest there is."""
    either = [{"snp.vtpm_pcrs": '"any"'}, {"snp.images": '"registered"'}]
    apart = {remark for edits in either for remark in lint(load(STRICT_SNP, edits))}
    (together,) = set(lint(load(STRICT_SNP, either[0] | either[1]))) - apart
    assert together.startswith("snp.images: a paravisor that the registry approves stands for whatever runs below it")


@pytest.mark.parametrize(
    ("pinned", "remarked"),
    [((16,), True), ((23,), True), ((16, 23), True), ((4,), False), ((16, 4), False), ((4, 23), False), ((17,), False)],
)
def test_pcrs_that_the_guest_can_reset_say_nothing_alone(pinned: tuple[int, ...], *, remarked: bool) -> None:
    remarks = lint(load(STRICT_SNP, pcr_rule(dict.fromkeys(pinned, (b"p" * 32,)))))
    assert [remark.partition(":")[0] for remark in remarks] == ["snp.vtpm_pcrs"] * remarked
    assert all("reset" in remark for remark in remarks)


# GPUs

STRICT_GPU: dict[str, str] = {
    path: value
    for path, value in {
        **GPU,
        **STRICT_TDX,
        "gpu.min_count": "1",
        "gpu.switches": "[0, 4]",
        "gpu.topology": '"required"',
        "gpu.architectures": '["HOPPER"]',
        "gpu.modes": '["SPT", "PPCIE"]',
        "gpu.min_driver_version": None,
        "gpu.min_driver_version.HOPPER": '"580.0"',
        "gpu.min_vbios_version": None,
        "gpu.min_vbios_version.HOPPER": '"96.00.9F.00.01"',
        "gpu.min_vbios_version.LS10": '"96.10.73.00.01"',
        "gpu.fwid": '"required"',
        "gpu.max_rim_age_seconds": "63072000",
        "gpu.min_grade": '"mutual"',
    }.items()
    if value is not None
}
WITHOUT_LS10: dict[str, str | None] = {"gpu.min_vbios_version.LS10": None}


def test_nothing_is_said_of_gpus_of_which_everything_is_demanded() -> None:
    assert lint(load(STRICT_GPU)) == ()
    assert lint(load(STRICT_GPU, {"bindings": '["cocoon", "attestd/v1"]'})) == ()
    assert lint(load(STRICT_GPU, {"gpu.switches": '"none"', **WITHOUT_LS10})) == ()
    assert lint(load(STRICT_GPU, {"gpu.switches": '"none"', "gpu.modes": '["SPT"]'})) == ()
    assert lint(load(STRICT_GPU, {"gpu.switches": "[4]", "gpu.modes": '["PPCIE"]'})) == ()


@pytest.mark.parametrize(
    ("edits", "member"),
    [
        ({"gpu.min_count": '"any"'}, "gpu.min_count"),
        ({"gpu.topology": '"any"'}, "gpu.topology"),
        ({"gpu.modes": '"any"'}, "gpu.modes"),
        ({"gpu.modes": '["SPT"]', "gpu.switches": "[4]"}, "gpu.switches"),
        ({"gpu.modes": '["PPCIE"]', "gpu.switches": '"none"'}, "gpu.switches"),
        (WITHOUT_LS10, "gpu.min_vbios_version"),
        ({**WITHOUT_LS10, "gpu.switches": '"any"'}, "gpu.min_vbios_version"),
        ({"gpu.min_driver_version.HOPPER": None, "gpu.min_driver_version": '"any"'}, "gpu.min_driver_version"),
        (
            {**WITHOUT_LS10, "gpu.min_vbios_version.HOPPER": None, "gpu.min_vbios_version": '"any"'},
            "gpu.min_vbios_version",
        ),
        ({"gpu.fwid": '"any"'}, "gpu.fwid"),
        (
            {"gpu.device_ids": f'["{DIGEST}"]', "gpu.denied_device_ids": f'["{DIGEST}"]'},
            "gpu.denied_device_ids",
        ),
        ({"gpu.max_rim_age_seconds": '"any"'}, "gpu.max_rim_age_seconds"),
        ({"gpu.revocation.device": '["good", "hold"]'}, "gpu.revocation.device"),
        ({"gpu.revocation.rims": '["stale", "good"]'}, "gpu.revocation.rims"),
        ({"gpu.revocation.rims": '["good", "unavailable"]'}, "gpu.revocation.rims"),
        ({"gpu.min_grade": '"none"'}, "gpu.min_grade"),
        ({"gpu.min_grade": '"same-challenge"'}, "gpu.min_grade"),
        ({"gpu.min_grade": '"key-bound"'}, "gpu.min_grade"),
        ({"bindings": '["cocoon"]'}, "gpu.min_grade"),
        ({"gpu.boot_gate": "true"}, "gpu.boot_gate"),
    ],
)
def test_one_thing_lax_of_gpus_is_one_remark(edits: dict[str, str | None], member: str) -> None:
    (remark,) = lint(load(STRICT_GPU, edits))
    assert remark.partition(": ")[0] == member


def test_any_architecture_has_no_floor_but_one() -> None:
    remarks = lint(load(STRICT_GPU, {"gpu.architectures": '"any"'}))
    assert [remark.partition(": ")[0] for remark in remarks] == [
        "gpu.architectures",
        "gpu.min_driver_version",
        "gpu.min_vbios_version",
    ]
    assert all("BLACKWELL" in remark for remark in remarks[1:])


def test_whether_evidence_without_gpus_is_accepted_is_told() -> None:
    (refused,) = lint(load(STRICT_GPU, {"gpu.min_count": '"any"'}))
    assert refused.endswith("refused by min_grade alone")
    accepted, _ = lint(load(STRICT_GPU, {"gpu.min_count": '"any"', "gpu.min_grade": '"none"'}))
    assert accepted.endswith("accepted")
