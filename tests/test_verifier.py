"""From evidence to a result: what is joined, in which order, and what the result says of itself."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest

from attestd.binding.verify import quote_of
from attestd.claims import PckCa
from attestd.codec import dump_base64, dump_digest
from attestd.errors import Reason
from attestd.evidence import Evidence, KeyEvidence, QuoteEvidence
from attestd.policy import AppraisalPolicy, Check
from attestd.result import Tier
from attestd.simulator import AT, BOOT, DSTACK_BOOT, KeyPair, Registry, TdReport, bits, ccel, dstack_log, flip
from attestd.tdx.collateral import RawCollateral
from attestd.verifier import (
    AttestationResult,
    Requirement,
    appraise,
    export_claims,
    export_result,
    parse_evidence,
    requirement,
)
from attestd.x509 import TrustAnchors
from tests.evidence import ROOT, intel_case
from tests.policy import factory
from tests.refusals import malformed, not_authentic, rejected
from tests.tdx.baseline import (
    ANCHORS,
    ATTESTER,
    COLLATERAL,
    QUOTE,
    SGX_ATTESTER,
    SGX_COLLATERAL,
    SGX_QUOTE,
    VENDOR,
    authenticated,
    collateral_of,
    quote,
)

STRICT = AppraisalPolicy.load((ROOT / "policies/strict-tdx.toml").read_bytes())
KEY, REGISTRY = KeyPair.ed25519(), Registry()
MODEL = sha256(b"model").digest()
EVIDENCE = ATTESTER.evidence(KEY, REGISTRY, [MODEL], event_log=ccel())
SECOND = timedelta(seconds=1)


def appraised(
    evidence: Evidence | bytes = EVIDENCE,
    collateral: RawCollateral = COLLATERAL,
    *,
    anchors: TrustAnchors = ANCHORS,
    at: datetime = AT,
    event_log: bytes | None = None,
    **changes: Any,
) -> AttestationResult:
    """Go the whole way with evidence, or with a bare quote."""
    bare = isinstance(evidence, bytes)
    raw = evidence if isinstance(evidence, bytes) else quote_in(evidence)
    parsed, key = authenticated(raw, anchors, at)
    arguments: dict[str, Any] = {
        "evidence": None if bare else evidence,
        "event_log": event_log if isinstance(evidence, bytes) else evidence.cpu.event_log,
        "attestation_key": key,
        "collateral": collateral_of(collateral, anchors, at),
        "policy": STRICT,
        "registry_id": REGISTRY.registry_id,
        "approved_models": frozenset({MODEL}),
        "at": at,
    }
    return appraise(parsed, **(arguments | changes))


def quote_in(evidence: Evidence) -> bytes:
    return quote_of(evidence.cpu)


def failing(result: AttestationResult) -> list[str]:
    return [finding.check for finding in result.appraisal.findings if finding.outcome is not Tier.AFFIRMING]


def test_evidence_names_its_tee() -> None:
    assert parse_evidence(QuoteEvidence(tee="tdx", quote=QUOTE)).tee == "tdx"
    assert parse_evidence(QuoteEvidence(tee="sgx", quote=SGX_QUOTE)).tee == "sgx"
    for wrong in (QuoteEvidence(tee="sgx", quote=QUOTE), QuoteEvidence(tee="tdx", quote=SGX_QUOTE)):
        with malformed(Reason.EVIDENCE_KIND):
            parse_evidence(wrong)
    certificate = ATTESTER.cocoon_evidence(KEY, REGISTRY).cpu
    assert parse_evidence(certificate).tee == "tdx"


def test_what_is_needed() -> None:
    parsed, key = authenticated(QUOTE)
    assert requirement(parsed, key.pck) == Requirement("tdx", ATTESTER.platform.fmspc, PckCa.PLATFORM)
    parsed, key = authenticated(SGX_QUOTE)
    assert requirement(parsed, key.pck) == Requirement("sgx", SGX_ATTESTER.platform.fmspc, PckCa.PROCESSOR)


def test_result() -> None:
    result = appraised()
    assert (result.at, result.tier, result.simulated) == (AT, Tier.AFFIRMING, True)
    assert result.evidence_id == result.claims.evidence_id
    assert result.bound is not None
    assert (result.bound.spki, result.bound.models) == (KEY.spki, (MODEL,))
    assert result.event_log is not None
    # A day, the policy's maximum age, is less than the life of the collateral.
    assert result.not_after == AT + timedelta(days=1)


def test_bare_quote_binds_nothing() -> None:
    result = appraised(QUOTE)
    assert (result.tier, result.bound, result.event_log) == (Tier.AFFIRMING, None, None)
    assert not {Check.BINDING, Check.MODELS, Check.KEY_ALGORITHM} & {one.check for one in result.appraisal.findings}


def test_not_acceptable_is_a_result_all_the_same() -> None:
    debug = appraised(ATTESTER.evidence(KEY, REGISTRY, body=TdReport(td_attributes=bits(0, 28))))
    assert debug.tier is Tier.CONTRAINDICATED
    unknown_model = appraised(approved_models=frozenset())
    assert [one.check for one in unknown_model.appraisal.findings if one.outcome is not Tier.AFFIRMING] == [
        Check.MODELS
    ]


def test_first_fault_first() -> None:
    """(1) the quote, (2) the binding, (3) the event log: each hides those behind it, and no policy is asked."""
    other = KeyPair.ed25519("other")
    wrong_log = replace(EVIDENCE, cpu=replace(EVIDENCE.cpu, event_log=ccel(BOOT[1:])))
    with not_authentic(Reason.EVENT_LOG_MISMATCH):
        appraised(wrong_log)
    wrong_key = replace(wrong_log, key=KeyEvidence(spki=other.spki, proof=other.sign(b"")))
    with not_authentic(Reason.BINDING_REPORT_DATA):
        appraised(wrong_key)
    forged = replace(wrong_key, cpu=QuoteEvidence(tee="tdx", quote=flip(600)(quote_in(EVIDENCE))))
    with not_authentic(Reason.TDX_QUOTE_SIGNATURE):
        appraised(forged)


def test_proof_is_by_the_key_and_for_this_registry() -> None:
    with not_authentic(Reason.BINDING_PROOF):
        appraised(replace(EVIDENCE, key=replace(EVIDENCE.key, proof=KeyPair.ed25519("other").sign(b""))))
    with not_authentic(Reason.BINDING_REPORT_DATA):
        appraised(registry_id="another registry")


@pytest.mark.parametrize("log", [ccel(), dstack_log(BOOT)])
def test_event_log_counts_only_where_it_replays(log: bytes) -> None:
    required = factory.load(edits={"tdx.event_log": '"required"'})
    assert appraised(QUOTE, policy=required, event_log=log).tier is Tier.AFFIRMING
    without = appraised(QUOTE, policy=required)
    assert failing(without) == [Check.EVENT_LOG]
    with malformed(Reason.EVENT_LOG_MALFORMED):
        appraised(QUOTE, event_log=b"")


def test_event_log_beside_an_enclave() -> None:
    assert appraised(SGX_QUOTE, SGX_COLLATERAL).tier is Tier.AFFIRMING
    with not_authentic(Reason.EVENT_LOG_MISMATCH):
        appraised(SGX_QUOTE, SGX_COLLATERAL, event_log=ccel())


def test_collateral_of_another_tee() -> None:
    with rejected(Reason.TDX_PCK_CRL_ISSUER):
        appraised(QUOTE, SGX_COLLATERAL)


def test_age_of_collateral_is_that_of_the_older_document() -> None:
    def issued(days: int) -> Callable[[dict[str, Any]], object]:
        return lambda document: document.update(issueDate=f"{AT - timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}")

    week = factory.load(edits={"max_collateral_age_seconds": str(7 * 86400)})
    for info, identity, tier in (
        (7, 7, Tier.AFFIRMING),
        (8, 6, Tier.CONTRAINDICATED),
        (6, 8, Tier.CONTRAINDICATED),
    ):
        raw = replace(
            COLLATERAL, tcb_info=VENDOR.tcb_info(issued(info)), qe_identity=VENDOR.qe_identity(issued(identity))
        )
        assert appraised(QUOTE, raw, policy=week).tier is tier


def test_result_ends_with_its_certificate() -> None:
    cocoon = ATTESTER.cocoon_evidence(KEY, REGISTRY)
    result = appraised(cocoon, policy=factory.load())
    assert result.bound is not None
    assert result.bound.validity is not None
    assert result.not_after == result.bound.validity.not_after < result.appraisal.not_after
    # And with the policy where that ends sooner.
    hour = appraised(cocoon, policy=factory.load(edits={"max_age_seconds": "3600"}))
    assert hour.not_after == AT + timedelta(hours=1)


def test_result_ends_with_the_collateral() -> None:
    assert appraised(QUOTE, policy=factory.load()).not_after == VENDOR.next_update


def test_genuine_hardware_is_not_simulated() -> None:
    case = intel_case("real/tdx-v4-90c06f-cocoon")
    cocoon = AppraisalPolicy.load((ROOT / "policies/cocoon-tdx.toml").read_bytes())
    result = appraised(case.read("quote.bin"), case.collateral, anchors=case.anchors, at=case.at, policy=cocoon)
    assert (result.simulated, result.tier) == (False, Tier.AFFIRMING)


def test_export() -> None:
    result = appraised()
    exported = export_result(result)
    assert exported.keys() == {
        *export_claims(result.claims),
        *("at", "valid_until", "tier", "simulated", "appraisal", "key", "event_log"),
    }
    assert exported["tee"] == "tdx"
    assert exported["evidence_id"] == dump_digest(result.evidence_id)
    assert exported["endorsements"] == [dump_digest(digest) for digest in COLLATERAL.digests]
    assert (exported["at"], exported["valid_until"]) == ("2026-06-01T12:00:00Z", "2026-06-02T12:00:00Z")
    assert exported["key"] == {
        "key_id": sha256(KEY.spki).hexdigest(),
        "spki": dump_base64(KEY.spki),
        "algorithm": "Ed25519",
        "scheme": "attestd/v1",
        "binding": "none",
        "proof_of_possession": True,
        "report_is_fresh": True,
        "models": [dump_digest(MODEL)],
        "role": None,
    }
    assert json.loads(json.dumps(exported)) == exported


def test_export_of_a_bare_quote() -> None:
    exported = export_result(appraised(quote(TdReport(td_attributes=bits(28, 30)))))
    assert (exported["key"], exported["event_log"], exported["flags"]) == (None, None, ["pks"])


def test_export_of_an_enclave() -> None:
    exported = export_result(appraised(SGX_QUOTE, SGX_COLLATERAL))
    assert (exported["tee"], exported["tier"]) == ("sgx", "affirming")


def test_export_of_runtime_events() -> None:
    body = TdReport().booted(DSTACK_BOOT)
    evidence = ATTESTER.evidence(KEY, REGISTRY, body=body, event_log=dstack_log())
    log = export_result(appraised(evidence))["event_log"]
    assert isinstance(log, dict)
    assert log["rtmr3_matches"] is True
