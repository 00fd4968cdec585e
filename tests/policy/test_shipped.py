"""The policies that are shipped, and what the evidence cases expect of the strict one."""

import tomllib
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from attestd.claims import Flag, SgxClaims, TcbStatus, TdxClaims
from attestd.evidence import Scheme
from attestd.policy import AppraisalPolicy, Check, appraise, lint
from attestd.result import Tier
from attestd.validity import Validity
from tests.evidence import IntelCase, intel_case, intel_cases
from tests.policy.factory import (
    AT,
    FACTS,
    REGISTERS,
    SGX_CLAIMS,
    TDX_CLAIMS,
    changed,
    faults,
    verdict,
    with_key,
    with_tcb,
)

ROOT = Path(__file__).parents[2]
COCOON_IMAGE = bytes.fromhex("04b3afd931d28680af91a15b09d672c40ad6b141f7f9089a8d67d595220f7436")
# The flags that the strict policy accepts, as the evidence defines `strict_policy_accepts`.
HARMLESS = {Flag.PKS, Flag.KEY_LOCKER, Flag.PERFMON, Flag.LASS, Flag.ICSSD, Flag.TPA}


@cache
def shipped(name: str) -> AppraisalPolicy:
    return AppraisalPolicy.load((ROOT / "policies" / f"{name}.toml").read_bytes())


@pytest.mark.parametrize("path", sorted((ROOT / "policies").glob("*.toml")), ids=lambda path: path.stem)
def test_a_policy_is_named_after_its_file(path: Path) -> None:
    assert AppraisalPolicy.load(path.read_bytes()).name == path.stem


def test_what_is_remarked_of_the_shipped_policies_is_meant() -> None:
    assert [remark.partition(":")[0] for remark in lint(shipped("strict-tdx"))] == [
        "tdx.tcb.min_evaluation_data_number",
        "tdx.images",
        "sgx.tcb.min_evaluation_data_number",
        "sgx.images",
    ]
    assert [remark.partition(":")[0] for remark in lint(shipped("cocoon-tdx"))] == ["tdx.images"]


@pytest.mark.parametrize("flag", Flag)
def test_strict_accepts_harmless_flags_and_no_other(flag: Flag) -> None:
    flagged = verdict(shipped("strict-tdx"), TDX_CLAIMS._replace(flags=(flag,)))
    assert (flagged.tier is Tier.AFFIRMING) == (flag in HARMLESS)


@pytest.mark.parametrize("claims", [TDX_CLAIMS, SGX_CLAIMS], ids=["tdx", "sgx"])
@pytest.mark.parametrize("status", TcbStatus)
def test_strict_accepts_up_to_date_and_no_other(status: TcbStatus, claims: TdxClaims | SgxClaims) -> None:
    judged = verdict(shipped("strict-tdx"), claims._replace(tcb=claims.tcb._replace(status=status)))
    assert (judged.tier is Tier.AFFIRMING) == (status is TcbStatus.UP_TO_DATE)


@pytest.mark.parametrize("case", intel_cases(quotes=True))
def test_strict_says_what_the_evidence_expects(case: IntelCase) -> None:
    """Claims are made of what the case expects, so that this is about the policy alone."""
    document, expected = case.document, case.expected
    if expected["reject_stage"]:
        assert not expected["strict_policy_accepts"]  # verification refuses it before any policy is asked
        return
    body = {
        name: document["body"][name] for name in ("mrsignerseam", "xfam", "mrservicetd") if name in document["body"]
    }
    changes: dict[str, Any] = {
        **{name: bytes.fromhex(value) for name, value in body.items()},
        "flags": tuple(map(Flag, expected["policy_flags"])),
        "validity": Validity(not_before=case.at, not_after=case.at + timedelta(days=1)),
        "trailing_bytes": document["trailing_bytes"],
        "tcb": TDX_CLAIMS.tcb._replace(
            status=TcbStatus(expected["tcb_status"]),
            advisory_ids=tuple(expected["advisory_ids"]),
            tcb_date=datetime.fromisoformat(expected["tcb_level_date"]),
        ),
    }
    claims: TdxClaims | SgxClaims = TDX_CLAIMS if document["tee"] == "TDX" else SGX_CLAIMS
    judged = appraise(shipped("strict-tdx"), claims._replace(**changes), FACTS._replace(key=None), case.at)
    assert (judged.tier is Tier.AFFIRMING) == expected["strict_policy_accepts"]


def cocoon() -> AppraisalPolicy:
    """Return the shipped policy with the image of these tests in place of the listed one."""
    raw = (ROOT / "policies" / "cocoon-tdx.toml").read_text()
    assert raw.count(COCOON_IMAGE.hex()) == 1
    return AppraisalPolicy.load(raw.replace(COCOON_IMAGE.hex(), TDX_CLAIMS.image_digest.hex()).encode())


COCOON = with_key(binding=Scheme.COCOON, role="worker", models=())


def test_cocoon_accepts_its_worker_image() -> None:
    judged = verdict(cocoon(), TDX_CLAIMS, COCOON)
    assert (judged.tier, faults(judged)) == (Tier.AFFIRMING, {})
    assert judged.not_after == AT + timedelta(days=1)


def test_cocoon_accepts_no_other_image_role_binding_or_tee() -> None:
    assert set(faults(verdict(shipped("cocoon-tdx"), TDX_CLAIMS, COCOON))) == {Check.IMAGE}
    policy = cocoon()
    assert set(faults(verdict(policy, TDX_CLAIMS, with_key(binding=Scheme.COCOON, role="proxy")))) == {Check.IMAGE_ROLE}
    assert set(faults(verdict(policy, TDX_CLAIMS, with_key(binding=Scheme.SPKI_SHA256)))) == {Check.BINDING}
    assert set(faults(verdict(policy, SGX_CLAIMS, COCOON))) == {Check.TEE}


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"flags": (Flag.DEBUG,)}, Check.DEBUG),
        ({"flags": (Flag.MIGRATABLE,)}, Check.FLAGS),
        ({"mrservicetd": b"x" * 48}, Check.MRSERVICETD),
        ({"mrsignerseam": b"x" * 48}, Check.MRSIGNERSEAM),
        ({"xfam": bytes(8)}, Check.XFAM),
        ({"tcb": with_tcb(status=TcbStatus.OUT_OF_DATE).tcb}, Check.TCB_STATUS),
        ({"tcb": with_tcb(tcb_evaluation_data_number=17).tcb}, Check.TCB_EVALUATION_DATA_NUMBER),
    ],
)
def test_cocoon_demands_what_the_image_digest_leaves_out(change: dict[str, Any], check: Check) -> None:
    """tdx.md, section 5, weak points: a debug or migratable TD may have the same registers."""
    assert set(faults(verdict(cocoon(), changed(**change), COCOON))) == {check}


def test_cocoon_accepts_the_image_of_the_real_quote() -> None:
    body = intel_case("real/tdx-v4-90c06f-cocoon").document["body"]
    registers: dict[str, Any] = {name: bytes.fromhex(body[name]) for name in REGISTERS}
    claims = changed(**registers)
    assert claims.image_digest == COCOON_IMAGE
    assert verdict(shipped("cocoon-tdx"), claims, COCOON).tier is Tier.AFFIRMING


def readme_examples() -> list[str]:
    return (ROOT / "policies" / "README.md").read_text().split("```toml\n")[1:]


def test_the_examples_in_the_readme_are_toml() -> None:
    examples = [tomllib.loads(example.partition("```")[0]) for example in readme_examples()]
    assert len(examples) == 5
