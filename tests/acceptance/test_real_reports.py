"""Every real report, posted to a service that trusts the vendors alone, with its time and its certificates."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from attestd.cli.client import Answer, Client
from attestd.codec import dump_base64, dump_time
from attestd.registry.values import KeyState
from attestd.settings import now, shipped
from attestd.simulator import AmdVendor, SnpAttester
from tests.acceptance.processes import Installation, Running
from tests.api.world import Clock, world, write_amd
from tests.evidence import EVIDENCE, SnpCase, snp_case
from tests.snp.test_evidence_cases import FAILURES, cases_with, fields, findings, require_claims

REAL: Final = 13
# Current firmware, and a product line that the strict policy takes: of all others the policy says no.
AFFIRMING: Final = {"genoa-v5-model-a0", "turin-v5-aci"}
# CRLs of AMD's, and the real reports of which they were in force at their time.
CRLS: Final = {
    "genoa_vcek_crl_20241023.der": ("genoa-v3-azure-hcl", "genoa-v3-model-a0"),
    "milan_vcek_crl_20250506.der": ("milan-v3-aci", "milan-v5-gcp"),
}
# The CRL of that time is not known of all of them.
POLICY: Final = (
    (shipped("policies") / "strict-snp.toml")
    .read_text(encoding="utf-8")
    .replace('crl = "require"', 'crl = "if-available"', 1)
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, Running]]:
    """Start a service in whose folder everything lies that a simulated vendor has."""
    installation = Installation.genuine(tmp_path_factory.mktemp("amd"))
    simulated = AmdVendor.of(at=now())
    vcek, ask, _ = SnpAttester.of(simulated).chain
    write_amd(installation.directory / "endorsements", {"vcek": vcek, "ask": ask, "crl": simulated.crl()})
    with installation.started() as running:
        yield installation, running


@pytest.fixture(scope="module")
def auditor(service: tuple[Installation, Running]) -> Client:
    installation, running = service
    issued = installation.admin(running).post("/v1/api-keys", {"role": "auditor", "label": "test"})
    return Client(running.public_url, issued.document["token"])


def endorsements_of(case: SnpCase) -> dict[str, bytes]:
    """Return what came with a case, and the ASK or ASVK of its product line."""
    assert case.vek is not None
    kind = "vcek" if (case.folder / "vcek.der").is_file() else "vlek"
    came = {kind: case.vek, "ask": case.issuer}
    return came if case.crl is None else {**came, "crl": case.crl}


def appraise(auditor: Client, case: SnpCase, cpu: Mapping[str, Any] | None = None, **supplied: bytes) -> Answer:
    """Post a report, or what stands for it, at its time; `supplied` goes before what came with it."""
    documents = endorsements_of(case) | supplied
    request = {
        "cpu": {"tee": "snp", **({"report": dump_base64(case.report)} if cpu is None else cpu)},
        "endorsements": {name: dump_base64(raw) for name, raw in documents.items()},
        "at": dump_time(case.at),
        "policy_toml": POLICY,
    }
    return auditor.post("/v1/appraisals", request)


def told(answer: Answer) -> dict[str, Any]:
    """Return the claims and the flags of a result."""
    assert answer.status == 200, answer.body
    result = answer.document
    assert (result["tee"], result["dry_run"], result["simulated"], result["key"]) == ("snp", True, False, None)
    return {**result["claims"], "flags": result["flags"]}


def test_no_real_report_is_left_out() -> None:
    cases = cases_with("accept", "real")
    if cases[0].values[0] is None:
        pytest.skip("no evidence")
    assert len(cases) == REAL
    assert AFFIRMING.union(*CRLS.values()) <= {case.values[0].folder.name for case in cases}


@pytest.mark.parametrize("case", cases_with("accept", "real", "derived"))
def test_appraisal_of_a_real_report(auditor: Client, case: SnpCase) -> None:
    answer = appraise(auditor, case)
    shown = told(answer)
    require_claims(shown, case)
    assert shown["crl_checked"] is False
    assert answer.document["at"] == dump_time(case.at)
    assert (answer.document["tier"] == "affirming") is (case.folder.name in AFFIRMING)


@pytest.mark.parametrize("case", cases_with("reject", "real", "derived"))
def test_refusal_of_what_was_changed(auditor: Client, case: SnpCase) -> None:
    answer = appraise(auditor, case)
    failures = case.document["all_failures"]
    assert answer.status in (400, 422), answer.body
    assert answer.document["reason"] in set[str]().union(*(FAILURES[failure] for failure in failures))
    assert len(answer.body) <= 4096


@pytest.mark.parametrize(("crl", "name"), [(crl, name) for crl, names in CRLS.items() for name in names])
def test_with_the_crl_of_its_time(auditor: Client, crl: str, name: str) -> None:
    case = snp_case(f"real/{name}")
    answer = appraise(auditor, case, crl=(EVIDENCE / "snp/roots" / crl).read_bytes())
    shown = told(answer)
    require_claims(shown, case)
    assert (shown["crl_checked"], len(answer.document["endorsements"])) == (True, 3)


@pytest.mark.parametrize(
    ("crl", "name", "reason"),
    [
        ("genoa_vcek_crl_20241023.der", "genoa-v5-model-a0", "snp.crl_expired"),
        ("milan_vcek_crl_20250506.der", "milan-v3-azure-hcl", "snp.crl_not_yet_valid"),
        ("milan_vcek_crl_20250506.der", "turin-v5-aci", "snp.crl_issuer"),
    ],
)
def test_with_the_crl_of_another_time_or_line(auditor: Client, crl: str, name: str, reason: str) -> None:
    answer = appraise(auditor, snp_case(f"real/{name}"), crl=(EVIDENCE / "snp/roots" / crl).read_bytes())
    assert (answer.status, answer.document["reason"]) == (422, reason)


@pytest.mark.parametrize("name", ["milan-v2-provisional-nocert", "milan-v4-gcp-nocert"])
def test_without_a_certificate(auditor: Client, name: str) -> None:
    case = snp_case(f"real/{name}")
    request = {"cpu": {"tee": "snp", "report": dump_base64(case.report)}, "policy_toml": POLICY}
    answer = auditor.post("/v1/appraisals", request)
    assert (answer.status, answer.document["reason"]) == (503, "snp.endorsements_missing")


@pytest.mark.parametrize("case", cases_with("accept", "cert-tables"))
def test_extended_report(auditor: Client, case: SnpCase) -> None:
    """The certificates follow the report; the ASK or ASVK is the one that is known."""
    request = {
        "cpu": {"tee": "snp", "report": dump_base64(case.read("extended_report.bin"))},
        "endorsements": {"ask": dump_base64(case.issuer)},
        "at": dump_time(case.at),
        "policy_toml": POLICY,
    }
    shown = told(auditor.post("/v1/appraisals", request))
    assert fields(shown) == case.document["report"]
    assert findings(shown) == case.document["policy_findings"]


def test_the_policy_that_is_shipped_requires_a_crl(auditor: Client) -> None:
    case = snp_case("real/turin-v5-aci")
    request = {
        "cpu": {"tee": "snp", "report": dump_base64(case.report)},
        "endorsements": {name: dump_base64(raw) for name, raw in endorsements_of(case).items()},
        "at": dump_time(case.at),
        "policy": "strict-snp",
    }
    answer = auditor.post("/v1/appraisals", request)
    assert (answer.status, answer.document["reason"]) == (503, "snp.endorsements_missing")
    assert "the CRL of ARK-Turin" in answer.document["detail"]


# ---------------------------------------------------------------------------------------------------------------------
# Azure


def hcl(case: SnpCase, **quote: bytes) -> dict[str, Any]:
    parts = {"message": case.read("tpm_quote.msg"), "signature": case.read("tpm_quote.sig"), **quote}
    return {
        "hcl_report": dump_base64(case.read("hcl_report.bin")),
        "tpm_quote": {name: dump_base64(raw) for name, raw in parts.items()},
    }


def test_real_evidence_of_azure(auditor: Client) -> None:
    case = snp_case("azure-hcl/milan-v3-quote")
    document = case.document
    pcrs = bytes.fromhex("".join(document["pcrs_sha256"]))
    answer = appraise(auditor, case, hcl(case, pcrs=pcrs))
    shown = told(answer)
    assert fields(shown) == document["report"]
    vtpm = answer.document["vtpm"]
    assert (vtpm["pcrs"], vtpm["extra_data"]) == (document["pcrs_sha256"], document["expected_tpm_nonce_hex"])
    assert vtpm["vm_configuration"]["secure_boot"] is True
    bad = {one["check"] for one in answer.document["appraisal"]["findings"] if one["outcome"] != "affirming"}
    assert {"product_line", "vtpm_pcrs"} <= bad
    # The same report by itself is other evidence.
    alone = appraise(auditor, snp_case("real/milan-v3-azure-hcl")).document
    assert (alone["claims"]["report_id"], alone["vtpm"]) == (shown["report_id"], None)
    assert alone["evidence_id"] != answer.document["evidence_id"]


def test_forged_evidence_of_azure(auditor: Client) -> None:
    tampered = snp_case("azure-hcl/milan-v3-runtime-data-tampered")
    answer = appraise(auditor, tampered, hcl(tampered))
    assert (answer.status, answer.document["reason"]) == (422, "snp.hcl_runtime_hash")
    case = snp_case("azure-hcl/milan-v3-quote")
    answer = appraise(auditor, case, hcl(case, signature=bytes(256)))
    assert (answer.status, answer.document["reason"]) == (422, "snp.vtpm_quote_signature")
    answer = appraise(auditor, case, hcl(case, pcrs=bytes(24 * 32)))
    assert (answer.status, answer.document["reason"]) == (422, "snp.vtpm_pcr_digest")


# ---------------------------------------------------------------------------------------------------------------------
# A20


@pytest.mark.parametrize("case", cases_with("accept", "synthetic"))
def test_what_is_synthetic_is_not_amd_s(auditor: Client, case: SnpCase) -> None:
    """Nothing is wrong with it but its root."""
    answer = appraise(auditor, case)
    assert (answer.status, answer.document["reason"]) in {(422, "snp.vek_chain"), (422, "snp.untrusted_root")}
    line = case.document["trust_anchor"].removeprefix("synthetic-")
    answer = appraise(auditor, case, ark=case.known(f"{line}_ark.pem"))
    assert (answer.status, answer.document["reason"]) == (422, "snp.untrusted_root")


@pytest.mark.parametrize("case", cases_with("reject", "synthetic"))
def test_what_is_synthetic_and_wrong_is_refused_too(auditor: Client, case: SnpCase) -> None:
    answer = appraise(auditor, case)
    assert answer.status in (400, 422), answer.body
    assert answer.document["reason"].startswith(("snp.", "der."))


def test_simulated_hardware_is_refused(service: tuple[Installation, Running], auditor: Client) -> None:
    """However complete it is: with all that its vendor has in the folder of the service, too."""
    installation, running = service
    attester = SnpAttester.of(AmdVendor.of(at=now()))
    vcek, ask, ark = attester.chain
    with installation.provider(running, "simulated") as provider:
        answer = provider.post(provider.evidence(attester=attester))
        assert (answer.status_code, answer.json()["reason"]) == (422, "snp.untrusted_root")
    for certificates in ({}, {"vcek": vcek, "ask": ask}, {"vcek": vcek, "ask": ask, "ark": ark}):
        dry = auditor.post(
            "/v1/appraisals",
            {
                "cpu": {"tee": "snp", "report": dump_base64(attester.report())},
                "endorsements": {name: dump_base64(raw) for name, raw in certificates.items()},
                "policy_toml": POLICY,
            },
        )
        wanted = (422, "snp.untrusted_root") if certificates else (503, "snp.endorsements_missing")
        assert (dry.status, dry.document["reason"]) == wanted
    assert b"\nattestd_collateral_refused_files 3.0\n" in Client(running.public_url).get("/metrics").body


def test_real_hardware_is_refused_where_hardware_is_simulated(tmp_path: Path) -> None:
    case = snp_case("real/turin-v5-aci")
    with world(tmp_path, Clock()) as running:
        answer = appraise(Client(running.service.public_url, running.admin_token), case)
    assert (answer.status, answer.document["reason"]) == (422, "snp.untrusted_root")


def test_nothing_is_registered(service: tuple[Installation, Running], auditor: Client) -> None:
    """However often a real report is appraised."""
    _, running = service
    assert [appraise(auditor, snp_case("real/turin-v5-aci")).status for _ in range(2)] == [200, 200]
    for state in KeyState:
        assert Client(running.public_url).get(f"/v1/keys?state={state}").document["items"] == []
