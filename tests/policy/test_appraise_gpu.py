"""Appraisal of GPUs and NVSwitches beside a CPU: each check alone, in a machine where all the rest is right."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import combinations
from typing import Any

import pytest

from attestd.binding.verify import BindingGrade
from attestd.claims import CpuClaims, GpuArch, GpuMode, NvidiaChainClaims, RevocationState
from attestd.policy import Check, Facts, appraise_gpus
from attestd.policy.nvidia_rules import driver_version, vbios_version
from attestd.result import Tier
from tests.policy.factory import (
    AT,
    FACTS,
    GPU,
    GPU_CLAIMS,
    GPU_FACTS,
    GPUS,
    SGX,
    SGX_CLAIMS,
    SNP,
    SNP_CLAIMS,
    SWITCH_CLAIMS,
    TDX,
    TDX_CLAIMS,
    TOPOLOGY,
    Case,
    faults,
    finding,
    load,
    require_one_finding,
    verdict,
    with_gpu,
)

GOOD, HOLD, STALE, UNAVAILABLE = (RevocationState(name) for name in ("good", "hold", "stale", "unavailable"))
SECTION = {path: value for path, value in GPU.items() if path.startswith("gpu.")}


def case(
    check: Check, rule: Mapping[str, str | None], facts: Facts, *, good: Facts = GPU_FACTS, at: datetime = AT
) -> Case:
    return Case(check, rule, facts=facts, at=at, good_facts=good, fields=GPU)


def hexed(*digests: bytes) -> str:
    return "[" + ", ".join(f'"{digest.hex()}"' for digest in digests) + "]"


def with_topology(**changes: Any) -> Facts:
    return GPU_FACTS._replace(topology=TOPOLOGY._replace(**changes))


def chain(*states: RevocationState) -> NvidiaChainClaims:
    return GPU_CLAIMS.chain._replace(revocation=states)


def rim(kind: str, **changes: Any) -> dict[str, Any]:
    """Change the RIM of a GPU's driver or VBIOS."""
    name = f"{kind}_rim"
    return {name: getattr(GPU_CLAIMS, name)._replace(**changes)}


DRIVERS = {"gpu.min_driver_version.HOPPER": '"580.95.05"'}
VBIOSES = {"gpu.min_vbios_version.HOPPER": '"96.00.9F.00.01"', "gpu.min_vbios_version.LS10": '"96.10.73.00.01"'}
FLOORS: dict[str, Any] = {"gpu.min_driver_version": None, "gpu.min_vbios_version": None, **DRIVERS, **VBIOSES}
IDS = {"gpu.device_ids": hexed(*(gpu.device_id for gpu in GPUS))}
YEAR = {"gpu.max_rim_age_seconds": str(400 * 86400)}
ONE_GPU = GPU_FACTS._replace(gpus=GPUS[1:], topology=TOPOLOGY._replace(gpus=(b"1" * 8,)))

GPU_CASES = {
    "GPUs where the policy says nothing of them": Case(Check.GPU, {}, facts=GPU_FACTS, fields=TDX),
    "one GPU too few": case(Check.GPU_COUNT, {"gpu.min_count": "2"}, ONE_GPU),
    "no GPU": case(Check.GPU_COUNT, {"gpu.min_count": "1"}, FACTS),
    "one GPU too many": case(Check.GPU_COUNT, {"gpu.max_count": "1"}, GPU_FACTS, good=ONE_GPU),
    "a switch where none may be": case(
        Check.GPU_SWITCHES, {"gpu.switches": '"none"'}, GPU_FACTS, good=GPU_FACTS._replace(gpus=GPUS[:2])
    ),
    "no switch": case(Check.GPU_SWITCHES, {"gpu.switches": "[1, 4]"}, GPU_FACTS._replace(gpus=GPUS[:2])),
    "a switch that is absent": case(
        Check.GPU_TOPOLOGY, {"gpu.topology": '"required"'}, with_topology(absent_switches=(b"x" * 8,))
    ),
    "a topology that nobody has verified": case(
        Check.GPU_TOPOLOGY, {"gpu.topology": '"required"'}, GPU_FACTS._replace(topology=None)
    ),
    "mode": case(Check.GPU_MODE, {"gpu.modes": '["PPCIE", "SPT"]'}, with_topology(mode=GpuMode.MPT)),
    "a mode that is not stated": case(Check.GPU_MODE, {"gpu.modes": '["SPT", "PPCIE"]'}, with_topology(mode=None)),
    "a mode that is stated": case(
        Check.GPU_MODE, {"gpu.modes": '["unstated"]'}, GPU_FACTS, good=with_topology(mode=None)
    ),
    "a mode that nobody has verified": case(
        Check.GPU_MODE, {"gpu.modes": '["PPCIE", "unstated"]'}, GPU_FACTS._replace(topology=None)
    ),
    "architecture": case(Check.GPU_ARCHITECTURE, {"gpu.architectures": '["HOPPER"]'}, with_gpu(arch=GpuArch.BLACKWELL)),
    "a device that is not listed": case(Check.GPU_DEVICE_ID, IDS, with_gpu(device_id=b"x" * 32)),
    "a switch that is not listed": case(Check.GPU_DEVICE_ID, IDS, with_gpu(2, device_id=b"x" * 32)),
    "a denied device": case(
        Check.GPU_DENIED_DEVICE_ID, {"gpu.denied_device_ids": hexed(b"x" * 32)}, with_gpu(device_id=b"x" * 32)
    ),
    "a denied switch": case(
        Check.GPU_DENIED_DEVICE_ID, {"gpu.denied_device_ids": hexed(b"x" * 32)}, with_gpu(2, device_id=b"x" * 32)
    ),
    "a denied model": case(
        Check.GPU_DENIED_HWMODEL,
        {"gpu.denied_hwmodels": '["GH100 A02 GSP BROM"]'},
        with_gpu(hwmodel="GH100 A02 GSP BROM"),
    ),
    "an old driver": case(Check.GPU_DRIVER_VERSION, FLOORS, with_gpu(driver_version="580.95.04")),
    "a driver that cannot be compared": case(Check.GPU_DRIVER_VERSION, FLOORS, with_gpu(driver_version="999-beta")),
    "a GPU without a driver": case(Check.GPU_DRIVER_VERSION, FLOORS, with_gpu(driver_version=None)),
    "an architecture without a floor of its driver": case(
        Check.GPU_DRIVER_VERSION,
        {**FLOORS, "gpu.min_vbios_version": '"any"'} | dict.fromkeys(VBIOSES),
        with_gpu(arch=GpuArch.BLACKWELL),
    ),
    "an old VBIOS": case(Check.GPU_VBIOS_VERSION, FLOORS, with_gpu(vbios_version="96.00.9E.FF.FF")),
    "an old BIOS of a switch": case(Check.GPU_VBIOS_VERSION, FLOORS, with_gpu(2, vbios_version="96.10.55.00.01")),
    "a VBIOS that cannot be compared": case(Check.GPU_VBIOS_VERSION, FLOORS, with_gpu(vbios_version="unknown")),
    "an architecture without a floor of its VBIOS": case(
        Check.GPU_VBIOS_VERSION,
        {"gpu.min_vbios_version": None, "gpu.min_vbios_version.HOPPER": '"00.00.00.00.00"'},
        GPU_FACTS,
        good=GPU_FACTS._replace(gpus=GPUS[:2]),
    ),
    "firmware that does not name itself": case(Check.GPU_FWID, {"gpu.fwid": '"required"'}, with_gpu(fwid="absent")),
    "a golden value that was skipped": case(
        Check.GPU_NVDEC0, {"gpu.nvdec0_measurement": '"required"'}, with_gpu(skipped=(35,))
    ),
    "an old RIM": case(Check.GPU_RIM_AGE, YEAR, GPU_FACTS, at=AT + timedelta(seconds=1)),
    "an old RIM of a driver": case(
        Check.GPU_RIM_AGE, YEAR, with_gpu(**rim("driver", signed_from=AT - timedelta(days=400, seconds=1)))
    ),
    "a denied RIM of a driver": case(
        Check.GPU_DENIED_RIM, {"gpu.denied_rims": hexed(b"x" * 32)}, with_gpu(**rim("driver", sha256=b"x" * 32))
    ),
    "a denied RIM of a VBIOS": case(
        Check.GPU_DENIED_RIM, {"gpu.denied_rims": hexed(b"x" * 32)}, with_gpu(**rim("vbios", sha256=b"x" * 32))
    ),
    "a denied RIM of a switch": case(
        Check.GPU_DENIED_RIM,
        {"gpu.denied_rims": hexed(b"x" * 32)},
        with_gpu(2, vbios_rim=SWITCH_CLAIMS.vbios_rim._replace(sha256=b"x" * 32)),
    ),
    "a device on hold": case(
        Check.GPU_REVOCATION, {"gpu.revocation.device": '["good", "stale"]'}, with_gpu(chain=chain(GOOD, HOLD))
    ),
    "a device of which nothing is said": case(Check.GPU_REVOCATION, {}, with_gpu(chain=chain())),
    "a RIM that was not asked about": case(Check.GPU_RIM_REVOCATION, {}, with_gpu(**rim("driver", chain=chain()))),
    "too weak a binding": case(
        Check.GPU_GRADE, {"gpu.min_grade": '"mutual"'}, GPU_FACTS._replace(grade=BindingGrade.KEY_BOUND)
    ),
    "a grade without GPUs": case(Check.GPU_GRADE, {"gpu.min_grade": '"same-challenge"'}, FACTS),
}


@pytest.mark.parametrize("name", GPU_CASES)
def test_each_check_fails_alone(name: str) -> None:
    """N09, N17, N25, X03, X04."""
    require_one_finding(GPU_CASES[name])


@pytest.mark.parametrize(
    ("fields", "claims"), [(TDX, TDX_CLAIMS), (SGX, SGX_CLAIMS), (SNP, SNP_CLAIMS)], ids=["tdx", "sgx", "snp"]
)
def test_gpus_are_judged_beside_every_tee(fields: dict[str, str], claims: CpuClaims) -> None:
    with_section, without = load(fields | SECTION, {"gpu.min_count": "3"}), load(fields)
    assert faults(verdict(with_section, claims, GPU_FACTS)) == {Check.GPU_COUNT: Tier.CONTRAINDICATED}
    assert faults(verdict(without, claims, GPU_FACTS)) == {Check.GPU: Tier.CONTRAINDICATED}
    assert verdict(without, claims).tier is Tier.AFFIRMING


def test_what_there_is_none_of_meets_the_checks_of_devices() -> None:
    rules = {
        **FLOORS,
        **IDS,
        **YEAR,
        "gpu.max_count": "8",
        "gpu.topology": '"required"',
        "gpu.modes": '["PPCIE"]',
        "gpu.architectures": '["HOPPER"]',
        "gpu.fwid": '"required"',
        "gpu.nvdec0_measurement": '"required"',
        "gpu.denied_rims": hexed(b"x" * 32),
    }
    judged = verdict(load(GPU, rules), facts=FACTS)
    assert (judged.tier, faults(judged)) == (Tier.AFFIRMING, {})
    assert judged.not_after == TDX_CLAIMS.validity.not_after


def test_all_faults_are_found_and_each_device_is_named_by_its_place() -> None:
    facts = with_gpu(0, with_gpu(2, with_gpu(1, driver_version="535.86.09"), hwmodel="old"), driver_version="545.00")
    judged = verdict(
        load(GPU, {**FLOORS, "gpu.denied_device_ids": hexed(b"s" * 32), "gpu.max_count": "1"}), facts=facts
    )
    assert set(faults(judged)) == {Check.GPU_COUNT, Check.GPU_DRIVER_VERSION, Check.GPU_DENIED_DEVICE_ID}
    assert finding(judged, Check.GPU_COUNT).got == 2
    assert finding(judged, Check.GPU_COUNT).want == (0, "to", 1)
    found = finding(judged, Check.GPU_DRIVER_VERSION)
    assert found.got == (("gpu 0", ("HOPPER", "545.00")), ("gpu 1", ("HOPPER", "535.86.09")))
    assert found.want == ("at least", ("HOPPER", "580.95.05"))
    assert finding(judged, Check.GPU_DENIED_DEVICE_ID).got == (("switch 2", b"s" * 32),)


def test_lists_of_devices_are_not_shown() -> None:
    others = {"gpu.device_ids": hexed(b"y" * 32), "gpu.denied_device_ids": hexed(b"z" * 32)}
    judged = verdict(load(GPU, others), facts=GPU_FACTS)
    assert set(faults(judged)) == {Check.GPU_DEVICE_ID}
    assert finding(judged, Check.GPU_DEVICE_ID).want == "devices that the policy lists"
    assert finding(judged, Check.GPU_DENIED_DEVICE_ID).want == "none that the policy denies"


def test_deny_wins() -> None:
    denied = {**IDS, "gpu.denied_device_ids": hexed(GPUS[1].device_id)}
    assert set(faults(verdict(load(GPU, denied), facts=GPU_FACTS))) == {Check.GPU_DENIED_DEVICE_ID}


STATES = (GOOD, HOLD, STALE, UNAVAILABLE)
BESIDE = [extra for size in range(4) for extra in combinations(STATES[1:], size)]


@pytest.mark.parametrize("extra", BESIDE, ids=lambda extra: "+".join(extra) or "good")
def test_each_state_of_revocation_is_accepted_by_its_name_alone(extra: tuple[RevocationState, ...]) -> None:
    """N09."""
    listed = ", ".join(f'"{state}"' for state in (GOOD, *extra))
    device, rims = (load(GPU, {f"gpu.revocation.{name}": f"[{listed}]"}) for name in ("device", "rims"))
    for found in (states for size in range(1, 5) for states in combinations(STATES, size)):
        accepted = {GOOD, *extra} >= {*found}
        of_device = verdict(device, facts=with_gpu(chain=chain(*found)))
        assert set(faults(of_device)) == (set() if accepted else {Check.GPU_REVOCATION})
        for kind in ("driver", "vbios"):
            changed = with_gpu(**rim(kind, chain=chain(*found)))
            assert set(faults(verdict(rims, facts=changed))) == (set() if accepted else {Check.GPU_RIM_REVOCATION})
            # One field says nothing of the other's chains.
            strict = {GOOD} >= {*found}
            assert set(faults(verdict(device, facts=changed))) == (set() if strict else {Check.GPU_RIM_REVOCATION})


@pytest.mark.parametrize("state", [RevocationState.REVOKED, RevocationState.UNKNOWN])
def test_what_verification_refuses_is_accepted_by_no_policy(state: RevocationState) -> None:
    every = '["good", "hold", "stale", "unavailable"]'
    policy = load(GPU, {"gpu.revocation.device": every, "gpu.revocation.rims": every})
    assert set(faults(verdict(policy, facts=with_gpu(chain=chain(GOOD, state))))) == {Check.GPU_REVOCATION}
    changed = with_gpu(**rim("vbios", chain=chain(state)))
    assert set(faults(verdict(policy, facts=changed))) == {Check.GPU_RIM_REVOCATION}


def test_a_verdict_ends_when_the_oldest_rim_is_too_old() -> None:
    seconds = 410 * 86400
    policy = load(GPU, {"gpu.max_rim_age_seconds": str(seconds)})
    judged = verdict(policy, facts=GPU_FACTS)
    end = AT + timedelta(days=10)
    assert (judged.tier, judged.not_after) == (Tier.AFFIRMING, end)
    assert finding(judged, Check.GPU_RIM_AGE)[2:] == (AT - timedelta(days=400), ("accepted until", end))
    assert verdict(policy, facts=GPU_FACTS, at=end).tier is Tier.AFFIRMING
    late = verdict(policy, facts=with_gpu(2, vbios_rim=GPU_CLAIMS.driver_rim), at=end + timedelta(seconds=1))
    assert finding(late, Check.GPU_RIM_AGE).got == tuple(
        (place, AT - timedelta(days=400)) for place in ("gpu 0", "gpu 1")
    )
    assert late.not_after == end


GRADES: list[BindingGrade] = [grade for grade in BindingGrade if grade is not BindingGrade.BOOT_GATE]


@pytest.mark.parametrize("least", GRADES)
@pytest.mark.parametrize("grade", GRADES)
def test_a_grade_is_met_by_itself_and_by_stronger_ones(grade: BindingGrade, least: BindingGrade) -> None:
    """X01, X02: what is not tied to the key has a lower grade, or was refused before."""
    policy = load(GPU, {"gpu.min_grade": f'"{least}"'})
    judged = verdict(policy, facts=GPU_FACTS._replace(grade=grade))
    assert (judged.tier is Tier.AFFIRMING) == (GRADES.index(grade) >= GRADES.index(least))
    assert finding(judged, Check.GPU_GRADE)[2:] == (grade, ("at least", least))


@pytest.mark.parametrize("least", GRADES)
def test_a_boot_gate_is_stated_and_meets_no_grade_that_is_verified(least: BindingGrade) -> None:
    policy = load(GPU, {"gpu.min_grade": f'"{least}"', "gpu.boot_gate": "true"})
    judged = verdict(policy, facts=FACTS)
    assert (judged.tier is Tier.AFFIRMING) == (least is BindingGrade.NONE)
    assert finding(judged, Check.GPU_GRADE).got == BindingGrade.BOOT_GATE
    verified = verdict(policy, facts=GPU_FACTS)
    assert finding(verified, Check.GPU_GRADE).got == BindingGrade.MUTUAL


def test_without_a_key_there_is_no_grade() -> None:
    bare = GPU_FACTS._replace(key=None, grade=BindingGrade.NONE)
    judged = verdict(load(GPU, {"gpu.min_grade": '"mutual"'}), facts=bare)
    assert judged.tier is Tier.AFFIRMING
    assert finding(judged, Check.GPU_GRADE).got == "no key"


def test_fields_that_switches_do_not_have_are_not_asked_of_them() -> None:
    rules = {**FLOORS, "gpu.fwid": '"required"', "gpu.architectures": '["HOPPER"]'}
    assert verdict(load(GPU, rules), facts=GPU_FACTS).tier is Tier.AFFIRMING


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("550.90.07", "550.144.03"),
        ("550.90.07", "560.0"),
        ("545.00", "545.00.1"),
        ("99.1", "100.0"),
        ("0.0", "0.1"),
        ("580.95.05", "580.95.05.1"),
    ],
)
def test_drivers_compare_number_by_number(older: str, newer: str) -> None:
    low, high = driver_version(older), driver_version(newer)
    assert low is not None
    assert high is not None
    assert low < high


def test_zeros_at_the_end_of_a_driver_say_nothing() -> None:
    assert driver_version("545.00") == driver_version("545.0.0") == driver_version("545.00.00.00") == (545,)
    assert driver_version("0.0") == ()
    assert driver_version("550.090.7") == driver_version("550.90.07")


@pytest.mark.parametrize(
    "text", ["", "580", "580.", ".580", "580..1", "1.2.3.4.5", "580.1a", "+580.1", " 580.1", "\u0665.1"]
)
def test_what_is_no_version_of_a_driver(text: str) -> None:
    assert driver_version(text) is None


def test_vbioses_compare_in_hex() -> None:
    assert vbios_version("96.00.9F.00.01") == vbios_version("96.00.9f.00.01") == (0x96, 0, 0x9F, 0, 1)
    assert (vbios_version("96.00.5E.00.04") or ()) < (vbios_version("96.00.9F.00.01") or ())
    for text in (
        "",
        "96.00.9F.00",
        "96.00.9F.00.01.00",
        "96.0.9F.00.01",
        "96009F0001",
        "96.00.9G.00.01",
        "96.00.9F.00.01\n",
    ):
        assert vbios_version(text) is None


# ---------------------------------------------------------------------------------------------------------------------
# Without a CPU


def test_gpus_alone_are_never_enough() -> None:
    """All that the section says of them is looked at; and no CPU TEE vouches for whoever talks to them."""
    appraisal = appraise_gpus(load(GPU), GPUS, TOPOLOGY, AT)
    assert (appraisal.tier, faults(appraisal)) == (Tier.CONTRAINDICATED, {Check.TEE: Tier.CONTRAINDICATED})
    beside = [found for found in verdict(load(GPU), facts=GPU_FACTS).findings if found.check.startswith("gpu")]
    alone = [found for found in appraisal.findings if found.check is not Check.TEE]
    assert [found for found in alone if found.check is not Check.GPU_GRADE] == [
        found for found in beside if found.check is not Check.GPU_GRADE
    ]
    assert (finding(appraisal, Check.GPU_GRADE).got, finding(appraisal, Check.TEE).want) == ("no key", ("tdx",))


def test_what_is_wrong_with_gpus_alone_is_found() -> None:
    unnamed = (GPUS[0], GPUS[1]._replace(fwid="absent"), *GPUS[2:])
    appraisal = appraise_gpus(load(GPU, {"gpu.fwid": '"required"'}), unnamed, TOPOLOGY, AT)
    assert set(faults(appraisal)) == {Check.TEE, Check.GPU_FWID}


def test_gpus_alone_under_a_policy_that_says_nothing_of_them() -> None:
    assert set(faults(appraise_gpus(load(TDX), GPUS, TOPOLOGY, AT))) == {Check.TEE, Check.GPU}


def test_a_verdict_on_gpus_alone_ends_with_what_it_rests_on() -> None:
    ends = min(gpu.validity.not_after for gpu in GPUS)
    assert appraise_gpus(load(GPU, {"max_age_seconds": '"any"'}), GPUS, TOPOLOGY, AT).not_after == ends
    short = load(GPU, {"max_age_seconds": "60"})
    assert appraise_gpus(short, GPUS, TOPOLOGY, AT).not_after == AT + timedelta(seconds=60)
