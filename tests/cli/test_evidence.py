"""Every case of genuine and synthetic evidence through the command line, against what its folder expects."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from attestd.codec import dump_time
from tests.evidence import EVIDENCE, INTEL_CASES, ROOT, IntelCase, intel_case, intel_cases

Run = Callable[..., tuple[int, Any]]

# The stages that the evidence names, and the reasons that mean the same here. Where more than one is listed the case
# has more than one fault, and which is met first depends on the order of the checks.
LAYOUT = {
    "tdx.attestation_key_type",
    "tdx.body_descriptor",
    "tdx.certification_data",
    "tdx.qe_vendor_id",
    "tdx.quote_truncated",
    "tdx.quote_version",
    "tdx.signature_data",
    "tdx.tee_type",
}
REASONS = {
    "quote_format": LAYOUT,
    "certification_data_unsupported": {"tdx.certification_data"},
    "pck_chain": {"tdx.pck_chain", "pem.malformed"},
    "root_untrusted": {"tdx.untrusted_root"},
    "pck_cert_expired": {"tdx.pck_expired"},
    "pck_ca_revoked": {"tdx.pck_ca_revoked"},
    "pck_revoked": {"tdx.pck_revoked"},
    "root_crl_format": {"tdx.root_crl_malformed"},
    "root_crl_signature": {"tdx.root_crl_signature"},
    "root_crl_expired": {"tdx.root_crl_expired"},
    "pck_crl_issuer": {"tdx.pck_crl_issuer"},
    "pck_crl_signature": {"tdx.pck_crl_signature", "tdx.pck_crl_issuer"},
    "pck_crl_expired": {"tdx.pck_crl_expired"},
    "tcb_signing_cert": {"tdx.tcb_signing_chain"},
    "tcb_signing_cert_revoked": {"tdx.tcb_signing_revoked"},
    "tcb_info_signature": {"tdx.tcb_info_signature"},
    "tcb_info_expired": {"tdx.tcb_info_expired", "tdx.pck_crl_expired"},
    "tcb_info_not_yet_valid": {"tdx.tcb_info_not_yet_valid", "tdx.pck_crl_not_yet_valid"},
    "tcb_info_mismatch": {"tdx.tcb_info_mismatch"},
    "qe_identity_signature": {"tdx.qe_identity_signature"},
    "qe_identity_expired": {"tdx.qe_identity_expired"},
    "qe_identity_not_yet_valid": {"tdx.qe_identity_not_yet_valid"},
    "qe_identity_mismatch": {"tdx.qe_identity_mismatch", "tdx.qe_identity_type"},
    "qe_report_signature": {"tdx.qe_report_signature"},
    "qe_report_data": {"tdx.qe_report_data"},
    "quote_signature": {"tdx.quote_signature"},
    "tdx_module_mismatch": {"tdx.tdx_module_mismatch"},
    "tcb_level_selection": {"tdx.tcb_not_supported"},
    "tcb_revoked": {"tdx.tcb_revoked"},
}
# The members that TD 1.5 Ex adds are one field of the claims, as they stand in the quote.


QUOTES = intel_cases(quotes=True)
LOGS = intel_cases(quotes=False)


def command(case: IntelCase, *more: object) -> list[object]:
    """Return the call of `attestd verify` for a folder of evidence, given as it is."""
    root, _, anchors = case.document["trust_root"].partition(" (")
    return [
        *("verify", "--tee", (case.document.get("tee") or "TDX").lower(), "--evidence", case.folder / "quote.bin"),
        *("--endorsements", case.folder, "--at", dump_time(case.at)),
        *(() if root == "intel" else ("--trust-anchors", case.folder / anchors.removesuffix(")"))),
        *more,
    ]


@pytest.mark.skipif(not EVIDENCE.is_dir(), reason=f"no evidence at {EVIDENCE}")
def test_no_case_is_left_out() -> None:
    assert len(QUOTES) + len(LOGS) == INTEL_CASES
    assert len(list((EVIDENCE / "tdx").glob("*/*/expected.json"))) == INTEL_CASES


@pytest.mark.parametrize("case", QUOTES)
def test_quote(attestd: Run, case: IntelCase) -> None:
    document, expected = case.document, case.expected
    status, result = attestd(*command(case, "--policy", ROOT / "policies/strict-tdx.toml"))
    if "implementation_defined" in expected:  # a chain without its root, which is pinned: accepted
        assert (result["outcome"], result["tcb"]["status"], status) == ("verified", "UpToDate", 0)
        return
    if expected["reject_stage"] is not None:
        assert result["reason"] in REASONS[expected["reject_stage"]]
        assert (result["outcome"], status) in {("malformed", 2), ("rejected", 3)}
        assert (status == 2) == (result["reason"] in LAYOUT | {"pem.malformed"})
        assert (result["claims"], result["tcb"], result["appraisal"]) == (None, None, None)
        return
    assert (result["outcome"], result["reason"]) == ("verified", None)
    tcb, claims = result["tcb"], result["claims"]
    assert {
        "tcb_status": tcb["status"],
        "advisory_ids": tcb["advisories"],
        "sgx_level_status": tcb["sgx_level_status"],
        "tdx_level_status": tcb["tdx_level_status"],
        "tdx_module_id": tcb["tdx_module_id"],
        "tdx_module_status": tcb["tdx_module_status"],
        "qe_status": tcb["qe_status"],
        "tcb_level_date": tcb["tcb_date"],
        "tcb_info_evaluation_data_number": tcb["tcb_info_evaluation_data_number"],
        "qe_identity_evaluation_data_number": tcb["qe_identity_evaluation_data_number"],
    } == {
        name: value
        for name, value in expected.items()
        if name.startswith(("tcb_", "adv", "sgx", "tdx", "qe")) and name != "tcb_error"
    }
    assert sorted(result["flags"]) == sorted(expected["policy_flags"])
    assert (result["appraisal"]["tier"] == "affirming") == expected["strict_policy_accepts"]
    assert status == (0 if expected["strict_policy_accepts"] else 5)
    body, pck = dict(document["body"]), document["pck"]
    assert {name: claims[name] for name in body} == body
    assert {name: claims["qe"][name] for name in document["qe_report"]} == document["qe_report"]
    assert {name: claims["pck"][name] for name in ("fmspc", "ppid", "pce_svn", "tcb_components")} == {
        "fmspc": pck["fmspc"],
        "ppid": pck["ppid"],
        "pce_svn": pck["pcesvn"],
        "tcb_components": bytes(pck["tcb_components"]).hex(),
    }
    assert claims["trailing_bytes"] == document["trailing_bytes"]
    if "cocoon" in document:
        assert claims["image_digest"] == document["cocoon"]["image_hash_hex"]


@pytest.mark.parametrize("case", QUOTES)
def test_verdict_is_the_same_without_a_policy(attestd: Run, case: IntelCase) -> None:
    status, result = attestd(*command(case))
    refused = case.expected["reject_stage"] is not None and "implementation_defined" not in case.expected
    assert (status == 0) == (not refused)
    assert result["appraisal"] is None


@pytest.mark.parametrize("case", LOGS)
def test_event_log_replays_as_expected(attestd: Run, case: IntelCase) -> None:
    status, shown = attestd("inspect", case.folder / "ccel.bin")
    assert status == 0
    assert shown["replayed"] == case.document["replayed"]
    assert shown["bytes_used"] == case.document["bytes_used"]
    counts = shown["events_per_register"].values()
    assert {str(number): count for number, count in enumerate(counts) if count} == case.document["events_per_register"]


WITH_LOG = {
    "real/tdx-v4-00806f-gcp-ccel": "ccel.bin",
    "real/tdx-v4-b0c06f-dstack-event-log": "dstack_event_log.json",
}


@pytest.mark.parametrize("path", WITH_LOG)
def test_event_log_of_a_quote_is_enforced(attestd: Run, path: str) -> None:
    case = intel_case(path)
    log = case.folder / WITH_LOG[path]
    status, result = attestd(*command(case, "--event-log", log))
    assert status == 0
    assert result["event_log"]["rtmr3_matches"]
    _, shown = attestd("inspect", log)
    assert shown["replayed"] == {name: result["claims"][name] for name in ("rtmr0", "rtmr1", "rtmr2", "rtmr3")}
    other = next(intel_case(another).folder / WITH_LOG[another] for another in WITH_LOG if another != path)
    status, result = attestd(*command(case, "--event-log", other))
    assert (status, result["outcome"], result["reason"]) == (3, "rejected", "event_log.mismatch")
    assert result["claims"] is None


COCOON = "real/tdx-v4-90c06f-cocoon"


def test_cocoon_quote_is_shown_readably(on_terminal: Callable[..., tuple[int, str]]) -> None:
    case = intel_case(COCOON)
    status, shown = on_terminal("inspect", case.folder / "quote.bin")
    assert status == 0
    assert "nothing was verified" in shown.splitlines()[0]
    rows = dict(line.split(maxsplit=1) for line in shown.splitlines() if len(line.split(maxsplit=1)) == 2)
    assert rows["image_digest"] == case.document["cocoon"]["image_hash_hex"]
    assert rows["image_digest_base64"] == "BLOv2THShoCvkaFbCdZyxArWsUH3+QiajWfVlSIPdDY="
    assert rows["fmspc"] == "90c06f000000"
    assert {name: rows[name] for name in case.document["body"]} == case.document["body"]
    assert max(map(len, shown.splitlines())) <= 160


def test_whole_folders_of_other_platforms_do_no_harm(attestd: Run) -> None:
    others = ("real/tdx-v4-b0c06f-uptodate", "real/sgx-v3-00606a-swh")
    extra = [argument for other in others for argument in ("--endorsements", intel_case(other).folder)]
    assert attestd(*command(intel_case(COCOON), *extra))[0] == 0


@pytest.mark.parametrize("path", [COCOON, "derived/quote-body-bit-flip", "synthetic/v4-uptodate"])
def test_as_a_process_of_its_own(attestd: Run, run_process: Callable[..., Any], path: str) -> None:
    arguments = command(intel_case(path))
    status, result = attestd(*arguments)
    process = run_process(*arguments)
    assert (process.returncode, json.loads(process.stdout), process.stderr) == (status, result, "")
