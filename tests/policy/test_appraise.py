"""Appraisal: each check alone, and what the verdict is made of."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest

from attestd.binding.keys import KeyAlgorithm
from attestd.claims import Flag, PckCa, SgxClaims, TcbStatus, TdxClaims
from attestd.evidence import Scheme
from attestd.policy import Check
from attestd.result import Tier
from tests.policy.factory import (
    AT,
    FACTS,
    MODEL,
    PCK,
    REGISTERS,
    SGX,
    SGX_CLAIMS,
    SNP,
    TDX,
    TDX_CLAIMS,
    Case,
    changed,
    digest_of,
    faults,
    finding,
    image,
    load,
    require_one_finding,
    status,
    verdict,
    with_key,
    with_pck,
    with_tcb,
)

OTHER = b"x" * 48
BARE = FACTS._replace(key=None)


ONE = image(image_digest=TDX_CLAIMS.image_digest)
WORKER = image(role='"worker"', image_digest=TDX_CLAIMS.image_digest)
ENCLAVE = image(mrenclave=SGX_CLAIMS.mrenclave, mrsigner=b"g" * 32, isvprodid=7, min_isvsvn=5)
ANY_ENCLAVE = image(mrenclave='"any"', mrsigner=b"g" * 32, isvprodid='"any"', min_isvsvn=5)
ADVISORY = "INTEL-SA-00960"

CASES = {
    "binding": Case(Check.BINDING, {"bindings": '["attestd/v1"]'}, facts=with_key(binding=Scheme.COCOON)),
    "key algorithm": Case(
        Check.KEY_ALGORITHM, {"key_algorithms": '["Ed25519"]'}, facts=with_key(algorithm=KeyAlgorithm.X25519)
    ),
    "model not approved": Case(Check.MODELS, {"models": '"registered"'}, facts=with_key(models=(MODEL, b"n" * 32))),
    "no model approved": Case(Check.MODELS, {"models": '"registered"'}, facts=with_key(approved_models=frozenset())),
    "model not listed": Case(
        Check.MODELS, {"models": f'["sha256:{MODEL.hex()}"]'}, facts=with_key(models=(MODEL, b"n" * 32))
    ),
    "no model of a list": Case(Check.MODELS, {"models": f'["sha256:{MODEL.hex()}"]'}, facts=with_key(models=())),
    "collateral age": Case(
        Check.COLLATERAL_AGE,
        {"max_collateral_age_seconds": str(9 * 86400)},
        facts=FACTS._replace(collateral_issued_at=AT - timedelta(days=9, seconds=1)),
    ),
    "debug": Case(Check.DEBUG, {}, TDX_CLAIMS._replace(flags=(Flag.DEBUG,))),
    "sgx debug": Case(Check.DEBUG, {}, SGX_CLAIMS._replace(flags=(Flag.DEBUG,)), good=SGX_CLAIMS, fields=SGX),
    "flag": Case(
        Check.FLAGS,
        {"tdx.flags": '["pks"]'},
        TDX_CLAIMS._replace(flags=(Flag.PKS, Flag.MIGRATABLE)),
        good=TDX_CLAIMS._replace(flags=(Flag.PKS,)),
    ),
    "no flag": Case(Check.FLAGS, {}, TDX_CLAIMS._replace(flags=(Flag.PKS,))),
    "sgx flag": Case(Check.FLAGS, {}, SGX_CLAIMS._replace(flags=(Flag.PKS,)), good=SGX_CLAIMS, fields=SGX),
    "status": Case(Check.TCB_STATUS, {}, with_tcb(status=TcbStatus.OUT_OF_DATE)),
    "grace": Case(
        Check.TCB_GRACE,
        status("OutOfDate", grace=str(15 * 86400)),
        with_tcb(status=TcbStatus.OUT_OF_DATE, tcb_date=AT - timedelta(days=15, seconds=1)),
        good=with_tcb(status=TcbStatus.OUT_OF_DATE, tcb_date=AT - timedelta(days=15)),
    ),
    "advisory of a status": Case(
        Check.TCB_ADVISORIES,
        status("SWHardeningNeeded", advisories=f'["{ADVISORY}"]'),
        with_tcb(status=TcbStatus.SW_HARDENING_NEEDED, advisory_ids=(ADVISORY, "INTEL-SA-00982")),
        good=with_tcb(status=TcbStatus.SW_HARDENING_NEEDED, advisory_ids=(ADVISORY,)),
    ),
    "no advisory": Case(
        Check.TCB_ADVISORIES, status("UpToDate", advisories='"none"'), with_tcb(advisory_ids=(ADVISORY,))
    ),
    "denied advisory": Case(
        Check.DENIED_ADVISORIES,
        {"tdx.tcb.denied_advisories": f'["{ADVISORY}"]'},
        with_tcb(advisory_ids=("INTEL-SA-00982", ADVISORY)),
        good=with_tcb(advisory_ids=("INTEL-SA-00982",)),
    ),
    "evaluation number": Case(
        Check.TCB_EVALUATION_DATA_NUMBER,
        {"tdx.tcb.min_evaluation_data_number": "18"},
        with_tcb(tcb_evaluation_data_number=17),
    ),
    "pck ca": Case(Check.PCK_CA, {"tdx.platform.pck_ca": '["platform"]'}, with_pck(pck_ca=PckCa.PROCESSOR)),
    "sgx type": Case(Check.SGX_TYPE, {"tdx.platform.sgx_types": '["Scalable"]'}, with_pck(sgx_type="Standard")),
    "dynamic platform": Case(
        Check.DYNAMIC_PLATFORM, {"tdx.platform.dynamic_platform": "true"}, with_pck(dynamic_platform=False)
    ),
    "cached keys": Case(Check.CACHED_KEYS, {"tdx.platform.cached_keys": "true"}, with_pck(cached_keys=None)),
    "smt": Case(Check.SMT_ENABLED, {"tdx.platform.smt_enabled": "false"}, TDX_CLAIMS, good=with_pck(smt_enabled=False)),
    "smt unknown": Case(
        Check.SMT_ENABLED,
        {"tdx.platform.smt_enabled": "false"},
        with_pck(smt_enabled=None),
        good=with_pck(smt_enabled=False),
    ),
    "product line": Case(
        Check.DENIED_FMSPC,
        {"tdx.platform.denied_fmspcs": '["00806f050000"]'},
        with_pck(fmspc=bytes.fromhex("00806f050000")),
    ),
    "ppid": Case(Check.PPID, {"tdx.platform.ppids": digest_of(PCK.ppid)}, with_pck(ppid=bytes(16))),
    "denied ppid": Case(
        Check.DENIED_PPID, {"tdx.platform.denied_ppids": digest_of(bytes(16))}, with_pck(ppid=bytes(16))
    ),
    "trailing bytes": Case(
        Check.TRAILING_BYTES, {"tdx.trailing_bytes": '"none"'}, TDX_CLAIMS._replace(trailing_bytes=70)
    ),
    "sgx trailing bytes": Case(
        Check.TRAILING_BYTES,
        {"sgx.trailing_bytes": '"none"'},
        SGX_CLAIMS._replace(trailing_bytes=1),
        good=SGX_CLAIMS,
        fields=SGX,
    ),
    "mrseam": Case(Check.MRSEAM, {"tdx.mrseam": f'["{TDX_CLAIMS.mrseam.hex()}"]'}, TDX_CLAIMS._replace(mrseam=OTHER)),
    "mrsignerseam": Case(Check.MRSIGNERSEAM, {"tdx.mrsignerseam": '"zero"'}, TDX_CLAIMS._replace(mrsignerseam=OTHER)),
    "mrservicetd zero": Case(
        Check.MRSERVICETD,
        {"tdx.mrservicetd": '"zero"'},
        TDX_CLAIMS._replace(mrservicetd=OTHER),
        good=TDX_CLAIMS._replace(mrservicetd=bytes(48)),
    ),
    "mrservicetd another": Case(
        Check.MRSERVICETD,
        {"tdx.mrservicetd": f'["{OTHER.hex()}"]'},
        TDX_CLAIMS._replace(mrservicetd=bytes(48)),
        good=TDX_CLAIMS._replace(mrservicetd=OTHER),
    ),
    "mrservicetd not in the quote": Case(
        Check.MRSERVICETD,
        {"tdx.mrservicetd": f'["{OTHER.hex()}"]'},
        good=TDX_CLAIMS._replace(mrservicetd=OTHER),
    ),
    "xfam required": Case(
        Check.XFAM, {"tdx.xfam_required": "[0, 1, 2]"}, TDX_CLAIMS._replace(xfam=bytes.fromhex("e600060000000000"))
    ),
    "xfam forbidden": Case(
        Check.XFAM, {"tdx.xfam_forbidden": "[63]"}, TDX_CLAIMS._replace(xfam=bytes.fromhex("e700060000000080"))
    ),
    "event log": Case(Check.EVENT_LOG, {"tdx.event_log": '"required"'}, facts=FACTS._replace(event_log_replayed=False)),
    "image": Case(Check.IMAGE, {"tdx.images": f"[{ONE}]"}, TDX_CLAIMS._replace(rtmr3=OTHER)),
    "image role": Case(
        Check.IMAGE_ROLE,
        {"tdx.images": f"[{WORKER}]"},
        facts=with_key(role="proxy"),
        good_facts=with_key(role="worker"),
    ),
    "image not approved": Case(Check.IMAGE, {"tdx.images": '"registered"'}, TDX_CLAIMS._replace(rtmr3=OTHER)),
    "no image approved": Case(Check.IMAGE, {"tdx.images": '"registered"'}, facts=FACTS._replace(approved_images={})),
    "image approved for no role": Case(
        Check.IMAGE,
        {"tdx.images": '"registered"'},
        facts=FACTS._replace(approved_images={TDX_CLAIMS.image_digest: frozenset()}),
    ),
    "image approved for another role": Case(
        Check.IMAGE_ROLE,
        {"tdx.images": '"registered"'},
        facts=with_key(role="proxy"),
        good_facts=with_key(role="worker"),
    ),
    "sgx image not approved": Case(
        Check.IMAGE,
        {"sgx.images": '"registered"'},
        SGX_CLAIMS._replace(mrenclave=b"x" * 32),
        good=SGX_CLAIMS,
        fields=SGX,
    ),
    "image not after": Case(
        Check.IMAGE_NOT_AFTER,
        {"tdx.images": f"[{image(not_after=AT.isoformat(), image_digest=TDX_CLAIMS.image_digest)}]"},
        at=AT + timedelta(microseconds=1),
    ),
    "sgx image": Case(
        Check.IMAGE,
        {"sgx.images": f"[{ENCLAVE}]"},
        SGX_CLAIMS._replace(isvprodid=8),
        good=SGX_CLAIMS,
        fields=SGX,
    ),
    "sgx image signer": Case(
        Check.IMAGE,
        {"sgx.images": f"[{ANY_ENCLAVE}]"},
        SGX_CLAIMS._replace(mrsigner=b"x" * 32),
        good=SGX_CLAIMS._replace(mrenclave=b"x" * 32),
        fields=SGX,
    ),
    "sgx security version": Case(
        Check.ISVSVN, {"sgx.images": f"[{ENCLAVE}]"}, SGX_CLAIMS._replace(isvsvn=4), good=SGX_CLAIMS, fields=SGX
    ),
    "denied register": Case(
        Check.DENIED_MEASUREMENT,
        {"tdx.denied_measurements": f'["{OTHER.hex()}"]'},
        TDX_CLAIMS._replace(rtmr1=OTHER),
    ),
    "denied enclave": Case(
        Check.DENIED_MEASUREMENT,
        {"sgx.denied_measurements": f'["{OTHER[:32].hex()}"]'},
        SGX_CLAIMS._replace(mrsigner=OTHER[:32]),
        good=SGX_CLAIMS,
        fields=SGX,
    ),
    "no section": Case(Check.TEE, {}, SGX_CLAIMS),
    "no sgx section": Case(Check.TEE, {}, TDX_CLAIMS, good=SGX_CLAIMS, fields=SGX),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_one_thing_wrong_is_one_finding(case: Case) -> None:
    require_one_finding(case)


REGISTERS_OF_A_POLICY = [*REGISTERS, "mrseam", "mrsignerseam", "mrservicetd"]


@pytest.mark.parametrize("register", REGISTERS_OF_A_POLICY)
def test_every_register_can_be_denied(register: str) -> None:
    policy = load(edits={"tdx.denied_measurements": f'["{OTHER.hex()}"]'})
    claims = changed(TDX_CLAIMS, **{register: OTHER})
    assert faults(verdict(policy, claims)) == {Check.DENIED_MEASUREMENT: Tier.CONTRAINDICATED}


@pytest.mark.parametrize("claims", [TDX_CLAIMS, SGX_CLAIMS], ids=["tdx", "sgx"])
def test_an_image_can_be_denied(claims: TdxClaims | SgxClaims) -> None:
    fields = TDX if claims is TDX_CLAIMS else SGX
    policy = load(fields, {f"{claims.tee}.denied_measurements": f'["{claims.image_digest.hex()}"]'})
    assert faults(verdict(policy, claims)) == {Check.DENIED_MEASUREMENT: Tier.CONTRAINDICATED}


@pytest.mark.parametrize(
    "rule",
    [
        {"tdx.images": f"[{ONE}]", "tdx.denied_measurements": f'["{TDX_CLAIMS.image_digest.hex()}"]'},
        {"tdx.platform.ppids": digest_of(PCK.ppid), "tdx.platform.denied_ppids": digest_of(PCK.ppid)},
        {
            **status("UpToDate", advisories=f'["{ADVISORY}"]'),
            "tdx.tcb.denied_advisories": f'["{ADVISORY}"]',
        },
    ],
    ids=["image", "ppid", "advisory"],
)
def test_deny_wins(rule: dict[str, str]) -> None:
    """P16."""
    claims = with_tcb(advisory_ids=(ADVISORY,))
    bad = verdict(load(edits=rule), claims)
    assert bad.tier is Tier.CONTRAINDICATED
    assert len(faults(bad)) == 1
    assert next(iter(faults(bad))).startswith("denied_")


def test_all_findings_are_collected_and_the_worst_tier_wins() -> None:
    policy = load(edits={"allow_debug": "true", "tdx.mrseam": f'["{OTHER.hex()}"]', "bindings": '["cocoon"]'})
    claims = with_tcb(status=TcbStatus.OUT_OF_DATE)._replace(flags=(Flag.DEBUG, Flag.MIGRATABLE))
    bad = verdict(policy, claims)
    assert bad.tier is Tier.CONTRAINDICATED
    assert bad.policy == policy.digest
    assert faults(bad) == {
        Check.BINDING: Tier.CONTRAINDICATED,
        Check.DEBUG: Tier.WARNING,
        Check.FLAGS: Tier.CONTRAINDICATED,
        Check.TCB_STATUS: Tier.CONTRAINDICATED,
        Check.MRSEAM: Tier.CONTRAINDICATED,
    }
    assert finding(bad, Check.FLAGS).got == (Flag.MIGRATABLE,)


@pytest.mark.parametrize(("fields", "claims"), [(TDX, TDX_CLAIMS), (SGX, SGX_CLAIMS)], ids=["tdx", "sgx"])
def test_debug_is_never_affirming(fields: dict[str, str], claims: TdxClaims | SgxClaims) -> None:
    debug = verdict(load(fields, {"allow_debug": "true"}), claims._replace(flags=(Flag.DEBUG,)))
    assert (debug.tier, faults(debug)) == (Tier.WARNING, {Check.DEBUG: Tier.WARNING})


@pytest.mark.parametrize("name", [status for status in TcbStatus if status is not TcbStatus.UP_TO_DATE])
def test_a_status_that_is_not_listed_is_refused(name: TcbStatus) -> None:
    """P02."""
    bad = verdict(load(), with_tcb(status=name))
    assert faults(bad) == {Check.TCB_STATUS: Tier.CONTRAINDICATED}
    assert (finding(bad, Check.TCB_STATUS).got, finding(bad, Check.TCB_STATUS).want) == (name, ("UpToDate",))


@pytest.mark.parametrize(
    ("age", "tier"),
    [
        (timedelta(days=14), Tier.AFFIRMING),
        (timedelta(days=15), Tier.AFFIRMING),
        (timedelta(days=15, seconds=1), Tier.CONTRAINDICATED),
        (timedelta(days=16), Tier.CONTRAINDICATED),
    ],
)
def test_grace_runs_from_the_tcb_date_and_ends_the_verdict(age: timedelta, tier: Tier) -> None:
    """P03."""
    policy = load(edits=status("OutOfDate", grace=str(15 * 86400)))
    graced = verdict(policy, with_tcb(status=TcbStatus.OUT_OF_DATE, tcb_date=AT - age))
    end = AT - age + timedelta(days=15)
    assert graced.tier is tier
    assert finding(graced, Check.TCB_GRACE).want == ("accepted until", end)
    assert graced.not_after == end


def test_a_status_without_grace_is_not_limited_by_the_grace_of_another() -> None:
    good = verdict(load(edits=status("OutOfDate", grace="60")))
    assert (good.tier, good.not_after) == (Tier.AFFIRMING, TDX_CLAIMS.validity.not_after)
    assert finding(good, Check.TCB_GRACE).got is TcbStatus.UP_TO_DATE


def test_an_advisory_set_binds_its_own_status_alone() -> None:
    """P04."""
    policy = load(edits=status("SWHardeningNeeded", advisories=f'["{ADVISORY}"]'))
    assert verdict(policy, with_tcb(advisory_ids=("INTEL-SA-00982",))).tier is Tier.AFFIRMING


def test_up_to_date_may_carry_advisories() -> None:
    """P05."""
    assert verdict(load(), with_tcb(advisory_ids=("INTEL-DOC-10001",))).tier is Tier.AFFIRMING


def test_quotes_without_mrservicetd_meet_zero() -> None:
    policy = load(edits={"tdx.mrservicetd": '"zero"'})
    assert verdict(policy, TDX_CLAIMS).tier is Tier.AFFIRMING


def test_a_key_without_models_vouches_for_none() -> None:
    assert verdict(load(edits={"models": '"registered"'}), facts=with_key(models=())).tier is Tier.AFFIRMING


def test_bare_evidence_is_judged_without_a_key() -> None:
    policy = load(edits={"bindings": '["cocoon"]', "key_algorithms": '["RSA"]', "models": '"registered"'})
    assert len(faults(verdict(policy))) == 2
    bare = verdict(policy, facts=BARE)
    assert bare.tier is Tier.AFFIRMING
    assert {found.check for found in bare.findings} == {Check.DEBUG, Check.FLAGS, Check.TCB_STATUS, Check.GPU}


def test_any_flag_but_debug() -> None:
    policy = load(edits={"tdx.flags": '"any"'})
    assert verdict(policy, TDX_CLAIMS._replace(flags=(Flag.MIGRATABLE,))).tier is Tier.AFFIRMING
    assert faults(verdict(policy, TDX_CLAIMS._replace(flags=tuple(Flag)))) == {Check.DEBUG: Tier.CONTRAINDICATED}


# Images


def two_images() -> tuple[TdxClaims, TdxClaims, str]:
    others: dict[str, Any] = dict.fromkeys(REGISTERS, OTHER)
    return TDX_CLAIMS, changed(**others), f"[{image('one', **REGISTERS)}, {image('two', **others)}]"


def test_images_are_tuples_not_columns() -> None:
    """T16: each register is one of an accepted image, but no image has these together."""
    one, two, images = two_images()
    policy = load(edits={"tdx.images": images})
    assert [finding(verdict(policy, claims), Check.IMAGE).got for claims in (one, two)] == ["one", "two"]
    for register in REGISTERS:
        mixed = changed(one, **{register: OTHER})
        assert faults(verdict(policy, mixed)) == {Check.IMAGE: Tier.CONTRAINDICATED}


def test_a_register_that_does_not_matter_may_be_another() -> None:
    policy = load(edits={"tdx.images": f"[{image(**{**REGISTERS, 'rtmr3': chr(34) + 'any' + chr(34)})}]"})
    assert verdict(policy, TDX_CLAIMS._replace(rtmr3=OTHER)).tier is Tier.AFFIRMING
    assert verdict(policy, TDX_CLAIMS._replace(rtmr2=OTHER)).tier is Tier.CONTRAINDICATED


def test_a_single_register_may_be_all_that_is_pinned() -> None:
    pins: dict[str, Any] = {**dict.fromkeys(REGISTERS, '"any"'), "mrtd": TDX_CLAIMS.mrtd}
    policy = load(edits={"tdx.images": f"[{image(**pins)}]"})
    assert verdict(policy).tier is Tier.AFFIRMING
    assert verdict(policy, TDX_CLAIMS._replace(mrtd=OTHER)).tier is Tier.CONTRAINDICATED


def test_another_image_is_shown_by_how_it_differs_from_the_nearest() -> None:
    _, _, images = two_images()
    policy = load(edits={"tdx.images": f"{images[:-1]}, {image('three', image_digest=bytes(32))}]"})
    found = finding(verdict(policy, TDX_CLAIMS._replace(rtmr1=OTHER, rtmr2=b"y" * 48)), Check.IMAGE)
    assert found.got == (("rtmr1", OTHER), ("rtmr2", b"y" * 48))
    assert found.want == ("one", ("rtmr1", TDX_CLAIMS.rtmr1), ("rtmr2", TDX_CLAIMS.rtmr2))


def test_differences_name_what_was_not_measured() -> None:
    policy = load(edits={"tdx.images": f"[{ONE}]"})
    assert policy.tdx is not None
    assert isinstance(policy.tdx.images, tuple)
    wanted = TDX_CLAIMS.image_digest
    assert policy.tdx.images[0].differences({}) == (("image_digest", None, wanted),)
    assert policy.tdx.images[0].differences({"image_digest": wanted}) == ()


@pytest.mark.parametrize(("image_role", "claimed"), [('"any"', "proxy"), ('"any"', None), ('"worker"', None)])
def test_a_role_is_compared_where_both_are_told(image_role: str, claimed: str | None) -> None:
    policy = load(edits={"tdx.images": f"[{image(role=image_role, image_digest=TDX_CLAIMS.image_digest)}]"})
    assert verdict(policy, facts=with_key(role=claimed)).tier is Tier.AFFIRMING


def test_bare_evidence_claims_no_role() -> None:
    assert verdict(load(edits={"tdx.images": f"[{WORKER}]"}), facts=BARE).tier is Tier.AFFIRMING


def test_an_approved_image_is_shown_with_what_it_was_approved_for() -> None:
    policy = load(edits={"tdx.images": '"registered"'})
    digest, want = TDX_CLAIMS.image_digest, "an image that the registry has approved"
    accepted = finding(verdict(policy), Check.IMAGE)
    assert (accepted.got, accepted.want) == (digest, want)
    unknown = finding(verdict(policy, facts=FACTS._replace(approved_images={})), Check.IMAGE)
    assert (unknown.got, unknown.want) == (digest, want)
    other = finding(verdict(policy, facts=with_key(role="proxy")), Check.IMAGE_ROLE)
    assert (other.got, other.want) == ("proxy", ("what the registry has approved the image for", "worker"))
    both = with_key(role="proxy")._replace(approved_images={digest: frozenset({"worker", "proxy"})})
    assert verdict(policy, facts=both).tier is Tier.AFFIRMING
    assert verdict(policy, facts=BARE).tier is Tier.AFFIRMING


@pytest.mark.parametrize(("tee", "edits"), [("tdx", TDX), ("sgx", SGX), ("snp", SNP)])
def test_a_policy_tells_whether_it_takes_registered_images(tee: str, edits: dict[str, str]) -> None:
    assert load(edits, {f"{tee}.images": '"registered"'}).takes_registered_images
    assert not load(edits, {f"{tee}.images": '"any"'}).takes_registered_images


def test_the_same_measurements_may_serve_two_roles() -> None:
    digest = TDX_CLAIMS.image_digest
    roles = [image(role, role=f'"{role}"', image_digest=digest) for role in ("worker", "proxy")]
    policy = load(edits={"tdx.images": f"[{', '.join(roles)}]"})
    for role in ("worker", "proxy"):
        assert finding(verdict(policy, facts=with_key(role=role)), Check.IMAGE).got == role


def test_of_two_entries_for_one_image_the_later_end_counts() -> None:
    """P14: the end of an entry is the end of the verdict."""
    digest, soon, late = TDX_CLAIMS.image_digest, AT + timedelta(hours=1), AT + timedelta(hours=2)
    entries = [image(name, not_after=end.isoformat(), image_digest=digest) for name, end in (("a", soon), ("b", late))]
    policy = load(edits={"tdx.images": f"[{', '.join(entries)}]"})
    assert verdict(policy).not_after == late
    assert finding(verdict(policy), Check.IMAGE).got == ("b", "accepted until", late)
    over = verdict(policy, at=late + timedelta(seconds=1))
    assert finding(over, Check.IMAGE_NOT_AFTER).want == ("b", "accepted until", late)
    assert over.not_after == late


def test_a_security_version_may_be_higher() -> None:
    policy = load(SGX, {"sgx.images": f"[{ENCLAVE}]"})
    assert verdict(policy, SGX_CLAIMS._replace(isvsvn=6)).tier is Tier.AFFIRMING


@pytest.mark.parametrize(("number", "more"), [(8, ()), (9, ("and 1 more",)), (20, ("and 12 more",))])
def test_long_lists_are_counted(number: int, more: tuple[str, ...]) -> None:
    measurements = [bytes([value]) * 48 for value in range(number)]
    written = ", ".join(f'"{measurement.hex()}"' for measurement in reversed(measurements))
    found = finding(verdict(load(edits={"tdx.mrseam": f"[{written}]"})), Check.MRSEAM)
    assert found.want == (*measurements[:8], *more)


def test_lists_of_platforms_are_not_shown() -> None:
    for rule, check in (("ppids", Check.PPID), ("denied_ppids", Check.DENIED_PPID)):
        shown = finding(verdict(load(edits={f"tdx.platform.{rule}": digest_of(b"other")})), check)
        assert shown.got == sha256(PCK.ppid).digest()
        assert isinstance(shown.want, str)


# Until when


def test_the_verdict_ends_with_the_claims() -> None:
    assert verdict(load()).not_after == TDX_CLAIMS.validity.not_after


def test_the_verdict_ends_with_its_maximum_age() -> None:
    assert verdict(load(edits={"max_age_seconds": "60"})).not_after == AT + timedelta(seconds=60)


def test_the_verdict_ends_with_the_maximum_age_of_the_collateral() -> None:
    policy = load(edits={"max_collateral_age_seconds": str(10 * 86400)})
    assert verdict(policy).not_after == AT + timedelta(days=1)
    assert finding(verdict(policy), Check.COLLATERAL_AGE).want == ("accepted until", AT + timedelta(days=1))


def test_a_maximum_age_never_prolongs_a_verdict() -> None:
    policy = load(edits={"max_age_seconds": "315360000", "max_collateral_age_seconds": "315360000"})
    assert verdict(policy).not_after == TDX_CLAIMS.validity.not_after


def test_ages_stop_at_the_end_of_the_calendar() -> None:
    last = datetime.max.replace(tzinfo=UTC)
    claims = TDX_CLAIMS._replace(validity=TDX_CLAIMS.validity._replace(not_after=last))
    policy = load(edits={"max_age_seconds": "60", **status("UpToDate", grace="60")})
    late = verdict(policy, with_tcb(claims, tcb_date=last), at=last)
    assert (late.tier, late.not_after) == (Tier.AFFIRMING, last)
