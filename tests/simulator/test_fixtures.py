"""The fixtures are the simulator's, byte for byte, and the verifier says of each what it was made to say."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from attestd.claims import CpuClaims
from attestd.codec import dump_time, load_time
from attestd.errors import AttestdError
from attestd.simulator import AT, REPRODUCIBLE, Vendor
from attestd.simulator.__main__ import main
from attestd.simulator.fixtures import files
from attestd.tdx.collateral import RawCollateral, authenticate_collateral
from attestd.tdx.eventlog import verify_event_log
from attestd.tdx.pck import authenticate_pck_chain
from attestd.tdx.qe import authenticate_attestation_key
from attestd.tdx.quote import parse_quote
from attestd.tdx.verify import verify
from attestd.x509 import TrustAnchors

FIXTURES = Path(__file__).parents[2] / "fixtures"
CASES = sorted(path.name for path in (FIXTURES / "tdx").iterdir())

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
    assert sum(map(len, files().values())) < 400_000


def verified(folder: Path, described: dict[str, Any]) -> CpuClaims:
    anchors = TrustAnchors.load([(folder / described["trust_root"].split("(")[1].rstrip(")")).resolve().read_bytes()])
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


def test_the_root_is_the_vendors() -> None:
    der = (FIXTURES / "roots/simulated_root.der").read_bytes()
    assert der == Vendor.of().root.der
    assert "Simulated" in x509.load_der_x509_certificate(der).subject.rfc4514_string()
    assert load_time("2026-06-01T12:00:00Z") == AT
