"""The section `[gpu]` of a policy: what is kept of it, and what is refused by the path of what is wrong with it."""

from datetime import timedelta

import pytest

from attestd.binding.verify import BindingGrade
from attestd.claims import GpuArch, GpuMode, RevocationState
from tests.policy.factory import GPU, SGX, SNP, TDX, load, text
from tests.policy.test_load import DIGEST, EMPTY, place, refused

SECTION = {path: value for path, value in GPU.items() if path.startswith("gpu.")}


def test_everything_of_gpus_is_kept_as_it_was_written() -> None:
    edits = {
        "gpu.min_count": "1",
        "gpu.max_count": "16",
        "gpu.switches": "[0, 4]",
        "gpu.topology": '"required"',
        "gpu.architectures": '["HOPPER", "BLACKWELL"]',
        "gpu.modes": '["SPT", "unstated"]',
        "gpu.min_driver_version": '{ HOPPER = "550.90.07", BLACKWELL = "575.0" }',
        "gpu.min_vbios_version": '{ HOPPER = "96.00.9f.00.01", LS10 = "96.10.55.00.01" }',
        "gpu.fwid": '"required"',
        "gpu.nvdec0_measurement": '"required"',
        "gpu.device_ids": f'["{DIGEST}"]',
        "gpu.denied_device_ids": f'["{DIGEST}"]',
        "gpu.denied_hwmodels": '["GH100 A01 GSP BROM", "LS_10 A01 FSP BROM"]',
        "gpu.max_rim_age_seconds": "60",
        "gpu.denied_rims": f'["{DIGEST.upper()}"]',
        "gpu.revocation.device": '["good"]',
        "gpu.revocation.rims": '["hold", "good", "stale", "unavailable"]',
        "gpu.min_grade": '"key-bound"',
        "gpu.boot_gate": "true",
    }
    assert set(edits) == set(SECTION)
    policy = load(GPU, edits)
    assert policy.tees == ("tdx",)
    gpu = policy.gpu
    assert gpu is not None
    assert (gpu.min_count, gpu.max_count, gpu.switches) == (1, 16, frozenset({0, 4}))
    assert (gpu.topology_required, gpu.fwid_required, gpu.nvdec0_required, gpu.boot_gate) == (True, True, True, True)
    assert gpu.architectures == frozenset({GpuArch.HOPPER, GpuArch.BLACKWELL})
    assert gpu.modes == frozenset({GpuMode.SPT, None})
    assert gpu.min_driver_version == {GpuArch.HOPPER: "550.90.07", GpuArch.BLACKWELL: "575.0"}
    assert gpu.min_vbios_version == {GpuArch.HOPPER: "96.00.9f.00.01", GpuArch.LS10: "96.10.55.00.01"}
    assert gpu.device_ids == gpu.denied_device_ids == gpu.denied_rims == frozenset({bytes.fromhex(DIGEST)})
    assert gpu.denied_hwmodels == frozenset({"GH100 A01 GSP BROM", "LS_10 A01 FSP BROM"})
    assert gpu.max_rim_age == timedelta(minutes=1)
    assert gpu.device_revocation == frozenset({RevocationState.GOOD})
    assert gpu.rim_revocation == frozenset(RevocationState) - {RevocationState.REVOKED, RevocationState.UNKNOWN}
    assert gpu.min_grade is BindingGrade.KEY_BOUND


def test_words_of_gpus() -> None:
    gpu = load(GPU).gpu
    assert gpu is not None
    numbers = (gpu.min_count, gpu.max_count, gpu.switches, gpu.max_rim_age)
    kinds = (gpu.architectures, gpu.modes, gpu.device_ids, gpu.min_driver_version, gpu.min_vbios_version)
    assert {*numbers, *kinds} == {None}
    assert not gpu.denied_device_ids | gpu.denied_rims
    assert not gpu.denied_hwmodels
    assert gpu.min_grade is BindingGrade.NONE
    assert (gpu.topology_required, gpu.fwid_required, gpu.nvdec0_required, gpu.boot_gate) == (False,) * 4
    without_switches = load(GPU, {"gpu.switches": '"none"'}).gpu
    assert without_switches is not None
    assert without_switches.switches == frozenset({0})


@pytest.mark.parametrize("fields", [TDX, SGX, SNP], ids=["tdx", "sgx", "snp"])
def test_the_section_goes_with_that_of_any_tee_and_is_no_other(fields: dict[str, str]) -> None:
    assert load(fields).gpu is None
    policy = load(fields | SECTION)
    assert policy.gpu is not None
    assert policy.tees == load(fields).tees


def test_the_section_alone_accepts_no_evidence() -> None:
    alone = {path: value for path, value in GPU.items() if not path.startswith("tdx.")}
    assert refused(text(alone)).found == "no section for any TEE at the top level"


def test_every_member_of_gpus_must_be_there() -> None:
    for path in SECTION:
        assert place(refused(text(GPU, {path: None}))) == path


@pytest.mark.parametrize("path", ["gpu.min_gpus", "gpu.revocation.rim", "gpu.revocation.certificates"])
def test_an_unknown_member_of_gpus_is_refused(path: str) -> None:
    error = refused(text(GPU, {path: "1"}))
    assert "the unknown member" in str(error)
    assert place(error) == path.rpartition(".")[0]


@pytest.mark.parametrize("value", EMPTY)
def test_emptiness_wildcards_and_other_types_are_refused_of_gpus(value: str) -> None:
    """P07."""
    for path in SECTION:
        assert place(refused(text(GPU, {path: value}))).startswith(path)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("gpu.min_count", "0"),
        ("gpu.min_count", "17"),
        ("gpu.min_count", '"none"'),
        ("gpu.max_count", "0"),
        ("gpu.max_count", "true"),
        ("gpu.switches", "4"),
        ("gpu.switches", "[17]"),
        ("gpu.switches", "[-1]"),
        ("gpu.switches", "[4, 4]"),
        ("gpu.topology", '"none"'),
        ("gpu.topology", "true"),
        ("gpu.architectures", '["LS10"]'),
        ("gpu.architectures", '["Hopper"]'),
        ("gpu.architectures", '"none"'),
        ("gpu.modes", '["spt"]'),
        ("gpu.modes", '"unstated"'),
        ("gpu.modes", '"none"'),
        ("gpu.min_driver_version", '"580.0"'),
        ("gpu.min_driver_version", '"none"'),
        ("gpu.min_driver_version", '{ LS10 = "580.0" }'),
        ("gpu.min_driver_version.HOPPER", '"580"'),
        ("gpu.min_driver_version.HOPPER", '"580.x"'),
        ("gpu.min_driver_version.HOPPER", "580.95"),
        ("gpu.min_driver_version.HOPPER", '"any"'),
        ("gpu.min_vbios_version", "{}"),
        ("gpu.min_vbios_version.HOPPER", '"96009F0001"'),
        ("gpu.min_vbios_version.LS10", "96"),
        ("gpu.fwid", '"match"'),
        ("gpu.nvdec0_measurement", "[35]"),
        ("gpu.device_ids", '"none"'),
        ("gpu.device_ids", f'["{DIGEST}00"]'),
        ("gpu.denied_device_ids", '"any"'),
        ("gpu.denied_hwmodels", '["gh100"]'),
        ("gpu.denied_hwmodels", '["GH100\\n"]'),
        ("gpu.max_rim_age_seconds", "0"),
        ("gpu.max_rim_age_seconds", '"none"'),
        ("gpu.denied_rims", '"any"'),
        ("gpu.revocation", '"any"'),
        ("gpu.revocation.device", '"any"'),
        ("gpu.revocation.device", '["hold"]'),
        ("gpu.revocation.device", '["good", "revoked"]'),
        ("gpu.revocation.rims", '["good", "unknown"]'),
        ("gpu.revocation.rims", '"good"'),
        ("gpu.revocation.rims", '["stale", "unavailable"]'),
        ("gpu.min_grade", '"boot-gate"'),
        ("gpu.min_grade", '"any"'),
        ("gpu.min_grade", '"Mutual"'),
        ("gpu.boot_gate", '"any"'),
        ("gpu.boot_gate", "1"),
    ],
)
def test_a_value_of_gpus_of_another_type_or_vocabulary_is_refused(path: str, value: str) -> None:
    above = path.rpartition(".")[0]
    # A table stands in place of its word, and a word in place of its table.
    replaced = {inner: None for inner in SECTION if inner == above or inner.startswith(f"{path}.")}
    assert place(refused(text(GPU, {**replaced, path: value}))).startswith(path)


def test_no_number_is_both_too_few_and_too_many() -> None:
    error = refused(text(GPU, {"gpu.min_count": "4", "gpu.max_count": "3"}))
    assert (error.found, error.wanted) == ("3, which is below min_count at gpu.max_count", "at least 4")
    assert load(GPU, {"gpu.min_count": "4", "gpu.max_count": "4"}).gpu is not None


@pytest.mark.parametrize("name", ["device", "rims"])
def test_good_is_always_listed(name: str) -> None:
    error = refused(text(GPU, {f"gpu.revocation.{name}": '["hold"]'}))
    assert error.found == f"a list without good at gpu.revocation.{name}"
