"""Every real quote, posted to a service that trusts Intel alone, with its time and its collateral."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields
from typing import Any, Final

import pytest

from attestd.cli.client import Answer, Client
from attestd.codec import dump_base64, dump_time
from attestd.registry.values import KeyState
from tests.acceptance.processes import Installation, Running
from tests.evidence import IntelCase, intel_case, intel_cases
from tests.tdx.test_evidence_cases import STAGES

REAL: Final = 21
EVENT_LOGS: Final = {"tdx-v4-00806f-gcp-ccel": "ccel.bin", "tdx-v4-b0c06f-dstack-event-log": "dstack_event_log.json"}


def real_cases() -> list[Any]:
    return [case for case in intel_cases(quotes=True) if case.id == "absent" or case.id.startswith("real/")]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, Running]]:
    installation = Installation.genuine(tmp_path_factory.mktemp("intel"))
    with installation.started() as running:
        yield installation, running


@pytest.fixture(scope="module")
def auditor(service: tuple[Installation, Running]) -> Client:
    installation, running = service
    issued = installation.admin(running).post("/v1/api-keys", {"role": "auditor", "label": "test"})
    return Client(running.public_url, issued.document["token"])


def request_for(case: IntelCase, **members: Any) -> dict[str, Any]:
    collateral = case.collateral
    return {
        "cpu": {"tee": case.document["tee"].lower(), "quote": dump_base64(case.read("quote.bin"))},
        "at": dump_time(case.at),
        "endorsements": {field.name: dump_base64(getattr(collateral, field.name)) for field in fields(collateral)},
        **members,
    }


def appraise(auditor: Client, case: IntelCase, **members: Any) -> Answer:
    return auditor.post("/v1/appraisals", request_for(case, **members))


def test_no_real_quote_is_left_out() -> None:
    cases = real_cases()
    if cases[0].id == "absent":
        pytest.skip("no evidence")
    assert len(cases) == REAL


@pytest.mark.parametrize("case", real_cases())
def test_appraisal_of_a_real_quote(auditor: Client, case: IntelCase) -> None:
    expected = case.expected
    answer = appraise(auditor, case)
    if expected["reject_stage"] is not None:
        assert answer.status == 422, answer.body
        assert answer.document["reason"] in STAGES[expected["reject_stage"]]
        assert answer.document["status"] == 422
        assert "result" not in answer.document
        return
    assert answer.status == 200, answer.body
    result = answer.document
    assert (result["dry_run"], result["simulated"], result["id"], result["key"]) == (True, False, None, None)
    assert result["at"] == dump_time(case.at)
    assert result["flags"] == expected["policy_flags"]
    assert (result["tier"] == "affirming") is expected["strict_policy_accepts"]
    assert result["policy"]["name"] == "strict-tdx"
    assert tcb(result) == {name: expected[name] for name in tcb(result)}
    body = case.document["body"]
    assert {name: result["claims"][name] for name in body} == body


def tcb(result: dict[str, Any]) -> dict[str, Any]:
    """Return the verdict on the platform under the names of the evidence."""
    found = result["tcb"]
    return {
        "tcb_status": found["status"],
        "advisory_ids": found["advisories"],
        "sgx_level_status": found["sgx_level_status"],
        "tdx_level_status": found["tdx_level_status"],
        "tdx_module_id": found["tdx_module_id"],
        "tdx_module_status": found["tdx_module_status"],
        "qe_status": found["qe_status"],
    }


@pytest.mark.parametrize("name", EVENT_LOGS)
def test_event_log_of_a_real_quote(auditor: Client, name: str) -> None:
    case = intel_case(f"real/{name}")
    request = request_for(case)
    request["cpu"]["event_log"] = dump_base64(case.read(EVENT_LOGS[name]))
    answer = auditor.post("/v1/appraisals", request)
    assert answer.status == 200, answer.body
    assert answer.document["event_log"]["rtmr3_matches"] is True
    # The log of the other machine is not this one's.
    other = next(other for other in EVENT_LOGS if other != name)
    request["cpu"]["event_log"] = dump_base64(intel_case(f"real/{other}").read(EVENT_LOGS[other]))
    answer = auditor.post("/v1/appraisals", request)
    assert (answer.status, answer.document["reason"]) == (422, "event_log.mismatch")


def test_real_cocoon_quote_under_the_policy_for_cocoon(auditor: Client) -> None:
    case = intel_case("real/tdx-v4-90c06f-cocoon")
    answer = appraise(auditor, case, policy="cocoon-tdx")
    assert answer.status == 200, answer.body
    result = answer.document
    assert (result["tier"], result["policy"]["name"]) == ("affirming", "cocoon-tdx")
    assert result["claims"]["image_digest"] == "04b3afd931d28680af91a15b09d672c40ad6b141f7f9089a8d67d595220f7436"
    assert {finding["outcome"] for finding in result["appraisal"]["findings"]} == {"affirming"}


def test_another_real_machine_is_none_of_cocoons(auditor: Client) -> None:
    """The same policy says no where the image alone is another."""
    answer = appraise(auditor, intel_case("real/tdx-v5-90c06f-td15-uptodate"), policy="cocoon-tdx")
    assert answer.status == 200, answer.body
    assert answer.document["tier"] == "contraindicated"
    bad = [one["check"] for one in answer.document["appraisal"]["findings"] if one["outcome"] != "affirming"]
    assert "image" in bad


def test_collateral_of_the_caller_is_judged_at_the_time_of_the_caller(auditor: Client) -> None:
    case = intel_case("real/tdx-v4-90c06f-cocoon")
    answer = appraise(auditor, case, at="2026-11-23T00:00:00Z")
    assert (answer.status, answer.document["reason"]) == (422, "tdx.root_crl_expired")


def test_collateral_of_another_platform(auditor: Client) -> None:
    case, other = intel_case("real/tdx-v4-b0c06f-uptodate"), intel_case("real/tdx-v4-00806f-gcp-ccel")
    assert case.document["fmspc"] != other.document["fmspc"]
    answer = auditor.post("/v1/appraisals", request_for(other) | {"cpu": request_for(case)["cpu"]})
    assert (answer.status, answer.document["reason"]) == (422, "tdx.tcb_info_mismatch")


def test_nothing_is_registered(service: tuple[Installation, Running], auditor: Client) -> None:
    """However often a real quote is appraised, no key, no result and no platform comes of it."""
    installation, running = service
    case = intel_case("real/tdx-v4-90c06f-cocoon")
    assert [appraise(auditor, case).status for _ in range(2)] == [200, 200]
    anyone = Client(running.public_url)
    for state in KeyState:
        assert anyone.get(f"/v1/keys?state={state}").document["items"] == []
    with closing(sqlite3.connect(installation.directory / "state/attestd.db")) as database:
        for table in ("results", "keys", "key_history", "platforms", "challenges"):
            assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table
