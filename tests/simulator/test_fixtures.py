"""The fixtures are the simulator's, byte for byte, and the verifier says of each what it was made to say."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from attestd.claims import IntelClaims, ProductLine, SnpClaims
from attestd.codec import dump_time, load_pem, load_time
from attestd.errors import AttestdError
from attestd.policy import AppraisalPolicy, appraise
from attestd.result import Tier
from attestd.simulator import AT, REPRODUCIBLE, AmdVendor, Vendor
from attestd.simulator.__main__ import main
from attestd.simulator.fixtures import files
from attestd.snp.certtable import parse_certificate_table
from attestd.snp.hcl import parse_hcl
from attestd.snp.report import REPORT_SIZE, parse_report
from attestd.snp.tpm import parse_quote as parse_tpm_quote
from attestd.snp.vek import authenticate_ark_crl, authenticate_vek
from attestd.snp.verify import verify as verify_report
from attestd.snp.vtpm import VtpmClaims, require_nonce, verify_vtpm
from attestd.tdx.collateral import RawCollateral, authenticate_collateral
from attestd.tdx.eventlog import verify_event_log
from attestd.tdx.pck import authenticate_pck_chain
from attestd.tdx.qe import authenticate_attestation_key
from attestd.tdx.quote import parse_quote
from attestd.tdx.verify import verify
from attestd.x509 import TrustAnchors
from tests.evidence import ROOT
from tests.policy.factory import BARE

FIXTURES = ROOT / "fixtures"
CASES = sorted(path.name for path in (FIXTURES / "tdx").iterdir())
SNP_CASES = sorted(path.name for path in (FIXTURES / "snp").iterdir())
STRICT_SNP = AppraisalPolicy.load((ROOT / "policies/strict-snp.toml").read_bytes())

reproducible = pytest.mark.skipif(not REPRODUCIBLE, reason="OpenSSL older than 3.2 cannot sign deterministically")


@reproducible
def test_the_fixtures_are_what_the_simulator_writes() -> None:
    committed = {
        path.relative_to(FIXTURES).as_posix(): path.read_bytes()
        for path in FIXTURES.rglob("*")
        # The vectors have a maker of their own.
        if path.is_file() and path.name != "binding-vectors.json"
    }
    assert committed == files()


@reproducible
def test_another_process_writes_the_same(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "attestd.simulator", tmp_path / "a"], check=True)
    assert main([str(tmp_path / "b")]) == 0
    for path, raw in files().items():
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes() == raw


def test_without_deterministic_signatures_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("attestd.simulator.__main__.REPRODUCIBLE", False)
    assert main([str(tmp_path)]) == 1
    assert "OpenSSL" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_they_are_small() -> None:
    assert sum(map(len, files().values())) < 800_000


def anchors_of(folder: Path, described: dict[str, Any]) -> TrustAnchors:
    return TrustAnchors.load([(folder / described["trust_root"].split("(")[1].rstrip(")")).resolve().read_bytes()])


def verified(folder: Path, described: dict[str, Any]) -> IntelClaims:
    anchors = anchors_of(folder, described)
    at = load_time(described["verification_time_iso"])
    quote = parse_quote((folder / "quote.bin").read_bytes())
    documents = {path.stem: path.read_bytes() for path in (folder / "collateral").iterdir()}
    collateral = authenticate_collateral(RawCollateral(**documents), anchors, at)
    key = authenticate_attestation_key(quote, authenticate_pck_chain(quote.pck_chain, anchors, at))
    return verify(quote, key, collateral, at)


@pytest.mark.parametrize("case", CASES)
def test_each_verifies_as_expected(case: str) -> None:
    folder = FIXTURES / "tdx" / case
    described = json.loads((folder / "expected.json").read_bytes())
    expected = described["expected"]
    if expected["reason"]:
        with pytest.raises(AttestdError) as refusal:
            verified(folder, described)
        assert refusal.value.reason == expected["reason"]
        return
    claims = verified(folder, described)
    assert claims.tee == described["tee"].lower()
    assert claims.quote_version == described["quote_version"]
    assert claims.pck.fmspc.hex() == described["fmspc"]
    assert [*claims.flags] == expected["policy_flags"]
    assert [*claims.tcb.advisory_ids] == expected["advisory_ids"]
    assert dump_time(claims.tcb.tcb_date) == expected["tcb_level_date"]
    assert {
        "tcb_status": claims.tcb.status,
        "sgx_level_status": claims.tcb.sgx_level_status,
        "tdx_level_status": claims.tcb.tdx_level_status,
        "tdx_module_id": claims.tcb.tdx_module_id,
        "tdx_module_status": claims.tcb.tdx_module_status,
        "qe_status": claims.tcb.qe_status,
        "tcb_info_evaluation_data_number": claims.tcb.tcb_info_evaluation_data_number,
        "qe_identity_evaluation_data_number": claims.tcb.qe_identity_evaluation_data_number,
    }.items() <= expected.items()
    for name, value in described["body"].items():
        shown = getattr(claims, name)
        assert (shown.hex() if isinstance(shown, bytes) else shown) == value


def verified_snp(folder: Path, described: dict[str, Any]) -> SnpClaims:
    anchors, at = anchors_of(folder, described), load_time(described["verification_time_iso"])
    documents = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    hcl_report = documents.get("hcl_report.bin")
    raw = parse_hcl(hcl_report).report if hcl_report else documents["report.bin"]
    if len(raw) > REPORT_SIZE:
        table = parse_certificate_table(raw[REPORT_SIZE:])
        leaf, issuer = table.vcek, table.ask
    else:
        leaf = documents.get("vcek.der") or documents["vlek.der"]
        (issuer,) = load_pem(documents.get("ask.pem") or documents["asvk.pem"])
    vek = authenticate_vek(leaf or b"", issuer or b"", anchors, at)
    return verify_report(
        parse_report(raw[:REPORT_SIZE]), vek, authenticate_ark_crl(documents["crl.der"], vek.root, at), at
    )


def verified_vtpm(folder: Path, claims: SnpClaims) -> VtpmClaims | None:
    if not (folder / "hcl_report.bin").is_file():
        return None
    hcl, pcrs = parse_hcl((folder / "hcl_report.bin").read_bytes()), (folder / "tpm_pcrs.bin").read_bytes()
    values = tuple(pcrs[start : start + 32] for start in range(0, len(pcrs), 32))
    quote = parse_tpm_quote((folder / "tpm_quote.msg").read_bytes())
    return verify_vtpm(claims, hcl, quote, (folder / "tpm_quote.sig").read_bytes(), values)


@pytest.mark.parametrize("case", SNP_CASES)
def test_each_report_verifies_as_expected(case: str) -> None:
    folder = FIXTURES / "snp" / case
    described = json.loads((folder / "expected.json").read_bytes())
    expected = described["expected"]
    if expected["reason"]:
        with pytest.raises(AttestdError) as refusal:
            verified_snp(folder, described)
        assert refusal.value.reason == expected["reason"]
        return
    claims = verified_snp(folder, described)
    assert (claims.vek.product_line, claims.signing_key) == (described["product_line"], described["signing_key"])
    assert [*claims.flags] == expected["policy_flags"]
    for name, value in described["report"].items():
        if name in SnpClaims._fields and not name.endswith("_tcb"):
            shown = getattr(claims, name)
            # What a version does not have is zero in the report, and nothing in the claims.
            assert (shown.hex() if isinstance(shown, bytes) else shown or 0) == value
    facts = BARE._replace(collateral_issued_at=None, vtpm=verified_vtpm(folder, claims))
    appraisal = appraise(STRICT_SNP, claims, facts, load_time(described["verification_time_iso"]))
    assert (appraisal.tier is Tier.AFFIRMING) is expected["strict_policy_accepts"]


def test_the_vtpm_quote_belongs_to_its_report() -> None:
    folder = FIXTURES / "snp/snp-genoa-v5-azure"
    described = json.loads((folder / "expected.json").read_bytes())
    vtpm = verified_vtpm(folder, verified_snp(folder, described))
    assert vtpm is not None
    require_nonce(vtpm, bytes.fromhex(described["nonce"]))


@pytest.mark.parametrize(
    ("log", "events"),
    [("tdx-v4-ccel/ccel.bin", (7, 5, 2, 0)), ("tdx-v4-dstack-event-log/dstack_event_log.json", (7, 5, 2, 7))],
)
def test_logs_replay_to_the_quotes_beside_them(log: str, events: tuple[int, ...]) -> None:
    path = FIXTURES / "tdx" / log
    quote = (path.parent / "quote.bin").read_bytes()
    rtmr0, rtmr1, rtmr2, rtmr3 = (quote[376 + 48 * i : 424 + 48 * i] for i in range(4))
    claims = verify_event_log(path.read_bytes(), (rtmr0, rtmr1, rtmr2, rtmr3))
    assert claims.events_per_register == events
    assert claims.rtmr3_matches
    assert len(claims.runtime_events) == events[3]


def test_the_certificate_carries_the_quote_beside_it() -> None:
    folder = FIXTURES / "tdx/tdx-v4-cocoon-ra-tls"
    assert (folder / "quote.bin").read_bytes() in (folder / "ra_tls_certificate.der").read_bytes()


@pytest.mark.parametrize("line", ProductLine)
def test_the_roots_of_amd_are_the_vendors(line: ProductLine) -> None:
    assert (FIXTURES / f"roots/simulated_ark_{line.lower()}.der").read_bytes() == AmdVendor.of(line).ark.der


def test_the_root_is_the_vendors() -> None:
    der = (FIXTURES / "roots/simulated_root.der").read_bytes()
    assert der == Vendor.of().root.der
    assert "Simulated" in x509.load_der_x509_certificate(der).subject.rfc4514_string()
    assert load_time("2026-06-01T12:00:00Z") == AT
