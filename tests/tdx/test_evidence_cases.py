"""Every case of the evidence through the library: refused or not, and every value that is expected of it."""

from datetime import datetime
from typing import Any, Final

import pytest

from attestd.claims import IntelClaims, TdxClaims, export
from attestd.codec import dump_time, load_pem
from attestd.errors import AttestdError, Reason
from attestd.policy import AppraisalPolicy, appraise
from attestd.result import Tier
from attestd.tdx.eventlog import replay, verify_event_log
from attestd.tdx.quote import parse_quote
from attestd.x509 import Certificate
from tests.evidence import INTEL_EVENT_LOGS, INTEL_QUOTES, ROOT, IntelCase, intel_case, intel_cases
from tests.policy import factory
from tests.tdx.baseline import verified

# Which reasons say what a stage of the evidence says.
STAGES: Final[dict[str, set[Reason]]] = {
    "quote_format": {
        Reason.TDX_QUOTE_TRUNCATED,
        Reason.TDX_QUOTE_VERSION,
        Reason.TDX_ATTESTATION_KEY_TYPE,
        Reason.TDX_TEE_TYPE,
        Reason.TDX_QE_VENDOR_ID,
        Reason.TDX_BODY_DESCRIPTOR,
        Reason.TDX_SIGNATURE_DATA,
        Reason.TDX_CERTIFICATION_DATA,  # the outer type is one of the layout's constants
    },
    "certification_data_unsupported": {Reason.TDX_CERTIFICATION_DATA},
    "pck_chain": {Reason.TDX_PCK_CHAIN, Reason.PEM_MALFORMED},
    "root_untrusted": {Reason.TDX_UNTRUSTED_ROOT},
    "pck_cert_expired": {Reason.TDX_PCK_EXPIRED},
    "pck_revoked": {Reason.TDX_PCK_REVOKED},
    "pck_ca_revoked": {Reason.TDX_PCK_CA_REVOKED},
    "pck_crl_issuer": {Reason.TDX_PCK_CRL_ISSUER},
    "pck_crl_signature": {Reason.TDX_PCK_CRL_SIGNATURE},
    "pck_crl_expired": {Reason.TDX_PCK_CRL_EXPIRED},
    "root_crl_format": {Reason.TDX_ROOT_CRL_MALFORMED},
    "root_crl_signature": {Reason.TDX_ROOT_CRL_SIGNATURE},
    "root_crl_expired": {Reason.TDX_ROOT_CRL_EXPIRED},
    "tcb_signing_cert": {Reason.TDX_TCB_SIGNING_CHAIN},
    "tcb_signing_cert_revoked": {Reason.TDX_TCB_SIGNING_REVOKED},
    "tcb_info_signature": {Reason.TDX_TCB_INFO_SIGNATURE},
    "tcb_info_expired": {Reason.TDX_TCB_INFO_EXPIRED},
    "tcb_info_not_yet_valid": {Reason.TDX_TCB_INFO_NOT_YET_VALID},
    "tcb_info_mismatch": {Reason.TDX_TCB_INFO_MISMATCH},
    "qe_identity_signature": {Reason.TDX_QE_IDENTITY_SIGNATURE},
    "qe_identity_expired": {Reason.TDX_QE_IDENTITY_EXPIRED},
    "qe_identity_not_yet_valid": {Reason.TDX_QE_IDENTITY_NOT_YET_VALID},
    "qe_identity_mismatch": {Reason.TDX_QE_IDENTITY_MISMATCH, Reason.TDX_QE_IDENTITY_TYPE},
    "qe_report_signature": {Reason.TDX_QE_REPORT_SIGNATURE},
    "qe_report_data": {Reason.TDX_QE_REPORT_DATA},
    "quote_signature": {Reason.TDX_QUOTE_SIGNATURE},
    "tdx_module_mismatch": {Reason.TDX_MODULE_MISMATCH},
    "tcb_level_selection": {Reason.TDX_TCB_NOT_SUPPORTED},
    "tcb_revoked": {Reason.TDX_TCB_REVOKED},
}
# Cases with more than one fault, of which attestd meets another one first.
ALSO: Final[dict[str, Reason]] = {
    # The platform CRL has passed 16 minutes before the TCB Info, as the note of the case says.
    "after-next-update": Reason.TDX_PCK_CRL_EXPIRED,
    # Before the TCB Info was issued the CRL was not issued either.
    "before-issue-date": Reason.TDX_PCK_CRL_NOT_YET_VALID,
    # Signed by another key, which the CRL's authority key identifier names.
    "v4-pck-crl-signed-by-other-key": Reason.TDX_PCK_CRL_ISSUER,
}

STRICT: Final = AppraisalPolicy.load((ROOT / "policies/strict-tdx.toml").read_bytes())


def verified_case(case: IntelCase) -> IntelClaims:
    return verified(case.read("quote.bin"), case.collateral, anchors=case.anchors, at=case.at)


def test_no_case_is_left_out() -> None:
    quotes, logs = intel_cases(quotes=True), intel_cases(quotes=False)
    if quotes[0].values[0] is None:
        pytest.skip("no evidence")
    assert (len(quotes), len(logs)) == (INTEL_QUOTES, INTEL_EVENT_LOGS)
    assert len({case.id for case in (*quotes, *logs)}) == INTEL_QUOTES + INTEL_EVENT_LOGS
    assert len(quotes_that(are_refused=True)) + len(quotes_that(are_refused=False)) == INTEL_QUOTES


def quotes_that(*, are_refused: bool) -> list[Any]:
    """Select by what is expected; where the evidence is absent its skip stays."""
    return [
        case
        for case in intel_cases(quotes=True)
        if case.values[0] is None or must_be_refused(case.values[0]) is are_refused
    ]


def must_be_refused(case: IntelCase) -> bool:
    """Tell the expectation; the chain without a root, which is left to the implementation, is accepted here (T29)."""
    return case.expected["reject_stage"] is not None and not case.expected.get("implementation_defined")


@pytest.mark.parametrize("case", quotes_that(are_refused=True))
def test_refusal(case: IntelCase) -> None:
    expected = case.expected
    with pytest.raises(AttestdError) as caught:
        verified_case(case)
    assert caught.value.reason in STAGES[expected["reject_stage"]] | {ALSO.get(case.folder.name)}
    assert not expected["strict_policy_accepts"]


@pytest.mark.parametrize("case", quotes_that(are_refused=False))
def test_verdict(case: IntelCase) -> None:
    expected = case.expected
    claims = verified_case(case)
    if expected.get("implementation_defined"):  # the root is pinned: that it did not come along changes nothing
        assert verdict(claims)["tcb_status"] == "UpToDate"
        return
    assert verdict(claims) == {name: expected[name] for name in verdict(claims)}
    assert strict_policy_accepts(claims, case.at) is expected["strict_policy_accepts"]


def verdict(claims: IntelClaims) -> dict[str, Any]:
    tcb = claims.tcb
    return {
        "tcb_status": tcb.status,
        "advisory_ids": list(tcb.advisory_ids),
        "sgx_level_status": tcb.sgx_level_status,
        "tdx_level_status": tcb.tdx_level_status,
        "tdx_module_id": tcb.tdx_module_id,
        "tdx_module_status": tcb.tdx_module_status,
        "qe_status": tcb.qe_status,
        "tcb_level_date": dump_time(tcb.tcb_date),
        "tcb_info_evaluation_data_number": tcb.tcb_info_evaluation_data_number,
        "qe_identity_evaluation_data_number": tcb.qe_identity_evaluation_data_number,
        "policy_flags": list(claims.flags),
    }


def strict_policy_accepts(claims: IntelClaims, at: datetime) -> bool:
    issued = claims.validity.not_before
    facts = factory.BARE._replace(collateral_issued_at=issued)
    return appraise(STRICT, claims, facts, at).tier is Tier.AFFIRMING


@pytest.mark.parametrize("case", quotes_that(are_refused=False))
def test_every_field_of_the_report_and_of_the_platform(case: IntelCase) -> None:
    document = case.document
    claims = verified_case(case)
    exported: dict[str, Any] = export(claims)
    body = dict(document["body"])
    assert {name: exported[name] for name in body} == body
    assert {name: exported["qe"][name] for name in document["qe_report"]} == document["qe_report"]
    assert platform(case, claims) == document["pck"]
    assert claims.quote_version == document["quote_version"]
    assert claims.trailing_bytes == document["trailing_bytes"]
    if "cocoon" in document:
        assert claims.image_digest.hex() == document["cocoon"]["image_hash_hex"]


def platform(case: IntelCase, claims: IntelClaims) -> dict[str, Any]:
    """Return what the PCK certificate says, under the names of the evidence."""
    certificate = Certificate(load_pem(parse_quote(case.read("quote.bin")).pck_chain)[0])
    pck = claims.pck
    assert pck.pck_serial_number == certificate.serial_number
    return {
        "fmspc": pck.fmspc.hex(),
        "pce_id": pck.pce_id.hex(),
        "cpusvn": pck.cpu_svn.hex(),
        "pcesvn": pck.pce_svn,
        "tcb_components": list(pck.tcb_components),
        "ppid": pck.ppid.hex(),
        "sgx_type": pck.sgx_type,
        "platform_instance_id": None if pck.platform_instance_id is None else pck.platform_instance_id.hex(),
        "dynamic_platform": pck.dynamic_platform,
        "cached_keys": pck.cached_keys,
        "smt_enabled": pck.smt_enabled,
        "issuer_cn": f"Intel SGX PCK {pck.pck_ca.capitalize()} CA",
        "not_before": certificate.validity.not_before.isoformat(),
        "not_after": certificate.validity.not_after.isoformat(),
    }


@pytest.mark.parametrize(
    ("path", "log", "events"),
    [
        ("real/tdx-v4-00806f-gcp-ccel", "ccel.bin", 43),
        ("real/tdx-v4-b0c06f-dstack-event-log", "dstack_event_log.json", 29),
    ],
)
def test_event_log_of_a_quote(path: str, log: str, events: int) -> None:
    case = intel_case(path)
    claims = verified_case(case)
    assert isinstance(claims, TdxClaims)
    replayed = verify_event_log(case.read(log), (claims.rtmr0, claims.rtmr1, claims.rtmr2, claims.rtmr3))
    assert replayed.rtmr3_matches
    assert sum(replayed.events_per_register) == events


@pytest.mark.parametrize("case", intel_cases(quotes=False))
def test_event_log_without_a_quote(case: IntelCase) -> None:
    document = case.document
    replayed = replay(case.read("ccel.bin"))
    assert {f"rtmr{number}": value.hex() for number, value in enumerate(replayed.registers)} == document["replayed"]
    counts = {str(number): count for number, count in enumerate(replayed.events_per_register) if count}
    assert counts == document["events_per_register"]
    assert replayed.bytes_used == document["bytes_used"]
