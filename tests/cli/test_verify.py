import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from attestd.claims import PckCa
from attestd.cli import inputs
from attestd.codec import load_time
from attestd.endorsements import write_bundle
from attestd.settings import BUILT, shipped
from attestd.simulator import (
    DEBUG,
    DSTACK_BOOT,
    SEPT_VE_DISABLE,
    Framing,
    SgxReport,
    Signing,
    TdReport,
    Vendor,
    bits,
    ccel,
    dstack_log,
    flip,
    replay,
)
from tests.cli.conftest import Files
from tests.evidence import ROOT
from tests.policy import factory

Run = Callable[..., tuple[int, Any]]
Terminal = Callable[..., tuple[int, str]]

MEMBERS = [
    *("outcome", "reason", "detail", "tee", "evidence_id", "at", "tcb", "claims", "flags", "gpus"),
    *("topology", "appraisal"),
    "trust_anchors",
]


def test_verified(attestd: Run, files: Files) -> None:
    status, result = attestd(*files.verify())
    assert status == 0
    assert list(result) == [*MEMBERS, "endorsements", "event_log", "vtpm"]
    assert (result["outcome"], result["reason"], result["detail"]) == ("verified", None, "")
    assert (result["tee"], result["at"]) == ("tdx", files.at)
    assert result["evidence_id"].startswith("sha256:")
    assert result["tcb"]["status"] == "UpToDate"
    assert result["tcb"]["advisories"] == []
    assert result["claims"]["mrtd"] == TdReport().mrtd.hex()
    assert result["claims"]["pck"]["fmspc"] == files.attester.platform.fmspc.hex()
    assert (result["flags"], result["appraisal"]) == ([], None)
    assert len(result["endorsements"]) == len(list(files.collateral.iterdir()))
    assert (result["event_log"], result["vtpm"], result["gpus"], result["topology"]) == (None, None, [], None)


def test_sgx_is_verified(attestd: Run, files: Files) -> None:
    quote = files.put("sgx.bin", files.attester.quote(SgxReport()))
    write_bundle(files.collateral, files.vendor.collateral("sgx"))
    status, result = attestd(*files.verify(quote, "sgx"))
    assert (status, result["outcome"]) == (0, "verified")
    assert result["claims"]["mrenclave"] == SgxReport().mrenclave.hex()
    assert "mrtd" not in result["claims"]


def test_other_roots_are_said_to_be_others(attestd: Run, on_terminal: Terminal, files: Files) -> None:
    _, result = attestd(*files.verify())
    assert len(result["trust_anchors"]) == 1
    assert result["trust_anchors"][0] in on_terminal(*files.verify())[1]


def test_simulated_quote_is_refused_under_the_pinned_root(attestd: Run, files: Files) -> None:
    arguments = files.verify()
    status, result = attestd(*arguments[: arguments.index("--trust-anchors")])
    assert (status, result["outcome"], result["reason"]) == (3, "rejected", "tdx.untrusted_root")
    assert list(result) == MEMBERS[:-1]


def test_pinned_root_may_be_named(attestd: Run, files: Files) -> None:
    arguments = files.verify()[:-1]
    assert attestd(*arguments, shipped("certs") / "intel")[1]["reason"] == "tdx.untrusted_root"


def test_root_may_be_pem(attestd: Run, files: Files) -> None:
    chain = files.vendor.tcb_signing_chain()
    root = files.put("root.pem", chain[chain.rindex(b"-----BEGIN") :])
    assert attestd(*files.verify()[:-1], root)[0] == 0


def test_malformed(attestd: Run, files: Files) -> None:
    status, result = attestd(*files.verify(files.put("short", files.quote.read_bytes()[:100])))
    assert (status, result["outcome"], result["reason"]) == (2, "malformed", "tdx.quote_truncated")
    assert (result["evidence_id"], result["claims"], result["tcb"]) == (None, None, None)
    assert "found" in result["detail"]
    assert "wanted" in result["detail"]


def test_too_large(attestd: Run, files: Files) -> None:
    status, result = attestd(*files.verify(files.put("large", bytes(64 * 1024 + 1))))
    assert (status, result["reason"]) == (2, "evidence.size")


def test_of_another_tee(attestd: Run, files: Files) -> None:
    status, result = attestd(*files.verify(tee="sgx"))
    assert (status, result["outcome"], result["reason"]) == (2, "malformed", "evidence.kind")


def test_forged(attestd: Run, files: Files) -> None:
    forged = files.attester.quote(framing=Framing(signing=Signing(after=flip(600))))
    status, result = attestd(*files.verify(files.put("forged", forged)))
    assert (status, result["outcome"], result["reason"]) == (3, "rejected", "tdx.quote_signature")
    assert result["evidence_id"] is not None
    assert result["claims"] is None


def test_wrong_time(attestd: Run, files: Files) -> None:
    arguments = files.verify()
    arguments[arguments.index("--at") + 1] = "2026-09-01T00:00:00+02:00"
    status, result = attestd(*arguments)
    assert (status, result["reason"]) == (3, "tdx.root_crl_expired")
    assert result["at"] == "2026-08-31T22:00:00Z"


def test_the_time_is_now_unless_given(attestd: Run, on_terminal: Terminal, files: Files) -> None:
    arguments = files.verify()
    at = arguments.index("--at")
    without = arguments[:at] + arguments[at + 2 :]
    _, result = attestd(*without)
    assert load_time(result["at"]) >= BUILT
    assert "(now)" in on_terminal(*without)[1]
    assert "(now)" not in on_terminal(*arguments)[1]


def test_clock_that_is_wrong_is_not_asked(attestd: Run, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = files.verify()
    at = arguments.index("--at")
    monkeypatch.setattr(inputs, "now", lambda: BUILT - timedelta(seconds=1))
    status, complaint = attestd(*arguments[:at], *arguments[at + 2 :])
    assert status == 1
    assert "[clock.before_build]" in complaint
    assert attestd(*arguments)[0] == 0


def test_endorsements_missing_altogether(attestd: Run, files: Files) -> None:
    arguments = files.verify()
    status, result = attestd(*arguments[:5], *arguments[7:])
    assert (status, result["outcome"], result["reason"]) == (4, "unavailable", "tdx.endorsements_missing")
    assert files.attester.platform.fmspc.hex() in result["detail"]
    assert "platform CA" in result["detail"]


def test_one_document_missing(attestd: Run, files: Files) -> None:
    (files.collateral / "pck_crl.der").unlink()
    status, result = attestd(*files.verify())
    assert (status, result["reason"]) == (4, "tdx.endorsements_missing")
    assert "pck_crl.der" in result["detail"]


def test_forged_endorsements(attestd: Run, files: Files) -> None:
    write_bundle(files.collateral, Vendor.of(seed="mallory").collateral())
    status, result = attestd(*files.verify())
    assert (status, result["outcome"], result["reason"]) == (3, "rejected", "tdx.untrusted_root")


def test_collateral_may_be_an_archive(attestd: Run, files: Files, tmp_path: Path) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "collateral"), "gztar", files.folder, "collateral"))
    arguments = files.verify()
    arguments[6] = archive
    assert attestd(*arguments)[0] == 0


def test_collateral_may_be_single_files(attestd: Run, files: Files) -> None:
    arguments = files.verify()
    single = [argument for file in sorted(files.collateral.iterdir()) for argument in ("--endorsements", file)]
    assert attestd(*arguments[:5], *single, *arguments[7:])[0] == 0
    status, result = attestd(*arguments[:5], *single[2:], *arguments[7:])
    assert (status, result["reason"]) == (4, "tdx.endorsements_missing")


def test_a_single_file_goes_before_the_folder(attestd: Run, files: Files) -> None:
    revoking = files.put("pck_crl.hex", files.vendor.pck_crl([files.attester.pck.serial_number]).hex().encode())
    status, result = attestd(*files.verify(), "--endorsements", revoking)
    assert (status, result["reason"]) == (3, "tdx.pck_revoked")


def test_a_single_file_must_have_the_name_of_a_document(attestd: Run, files: Files) -> None:
    status, result = attestd(*files.verify(), "--endorsements", files.put("crl", b""))
    assert (status, result["reason"]) == (2, "endorsements.file")


def test_of_several_bundles_the_fitting_one_is_used(attestd: Run, files: Files) -> None:
    write_bundle(files.folder / "more/forged", Vendor.of(seed="mallory").collateral())
    write_bundle(files.folder / "more/sgx", files.vendor.collateral("sgx"))
    (files.folder / "more/incomplete").mkdir()
    (files.folder / "more/incomplete/tcb_info.json").write_bytes(b"")
    arguments = files.verify()
    arguments[6] = files.folder / "more"
    status, result = attestd(*arguments)
    assert (status, result["reason"]) == (4, "tdx.endorsements_missing")
    assert attestd(*arguments, "--endorsements", files.collateral)[0] == 0
    assert attestd(*files.verify(), "--endorsements", files.folder / "more")[0] == 0


def test_of_several_bundles_none_fits(attestd: Run, files: Files) -> None:
    write_bundle(files.collateral, files.vendor.collateral("sgx"))
    write_bundle(files.folder / "processor", files.vendor.collateral("tdx", PckCa.PROCESSOR))
    status, result = attestd(*files.verify(), "--endorsements", files.folder / "processor")
    assert (status, result["reason"]) == (4, "tdx.endorsements_missing")
    assert "2 bundles" in result["detail"]


def test_unsafe_file_in_a_folder(attestd: Run, files: Files) -> None:
    (files.collateral / "pck_crl.der").rename(files.folder / "elsewhere")
    (files.collateral / "pck_crl.der").symlink_to(files.folder / "elsewhere")
    status, result = attestd(*files.verify())
    assert (status, result["reason"]) == (2, "endorsements.file")


def test_report_data(attestd: Run, files: Files) -> None:
    report_data = TdReport().report_data
    assert attestd(*files.verify(), "--report-data", report_data.hex().upper())[0] == 0
    other = bytes((report_data[0] ^ 1, *report_data[1:]))
    status, result = attestd(*files.verify(), "--report-data", other.hex())
    assert (status, result["outcome"], result["reason"]) == (3, "rejected", "binding.report_data")
    assert report_data.hex() in result["detail"]


def booted(rtmrs: tuple[bytes, ...]) -> TdReport:
    return replace(TdReport(), **dict(zip(("rtmr0", "rtmr1", "rtmr2", "rtmr3"), rtmrs, strict=True)))


@pytest.mark.parametrize(("log", "events"), [(ccel(), 17), (dstack_log(), None)])
def test_event_log(attestd: Run, files: Files, log: bytes, events: int | None) -> None:
    body = TdReport() if events else booted(replay(DSTACK_BOOT))
    quote = files.put("booted", files.attester.quote(body))
    status, result = attestd(*files.verify(quote), "--event-log", files.put("log", log))
    assert status == 0
    assert result["event_log"]["rtmr3_matches"]
    other = files.put("other", files.attester.quote(replace(body, rtmr2=bytes(48))))
    status, result = attestd(*files.verify(other), "--event-log", files.folder / "log")
    assert (status, result["outcome"], result["reason"]) == (3, "rejected", "event_log.mismatch")


def test_event_log_that_does_not_parse(attestd: Run, files: Files) -> None:
    status, result = attestd(*files.verify(), "--event-log", files.put("log", b"hello"))
    assert (status, result["outcome"], result["reason"]) == (2, "malformed", "event_log.malformed")


def test_event_log_beside_an_enclave(attestd: Run, files: Files) -> None:
    quote = files.put("sgx.bin", files.attester.quote(SgxReport()))
    write_bundle(files.collateral, files.vendor.collateral("sgx"))
    status, result = attestd(*files.verify(quote, "sgx"), "--event-log", files.put("log", ccel()))
    assert (status, result["reason"]) == (3, "event_log.mismatch")


STRICT = ROOT / "policies/strict-tdx.toml"


def test_affirming(attestd: Run, files: Files) -> None:
    status, result = attestd(*files.verify(), "--policy", STRICT)
    assert (status, result["appraisal"]["tier"]) == (0, "affirming")
    assert result["appraisal"]["policy"].startswith("sha256:")
    assert all(list(finding) == ["check", "outcome", "got", "want"] for finding in result["appraisal"]["findings"])


def test_contraindicated(attestd: Run, files: Files) -> None:
    quote = files.put("debug", files.attester.quote(TdReport(td_attributes=bits(DEBUG, SEPT_VE_DISABLE))))
    status, result = attestd(*files.verify(quote), "--policy", STRICT)
    assert (status, result["outcome"], result["reason"]) == (5, "verified", None)
    assert result["flags"] == ["debug"]
    assert result["appraisal"]["tier"] == "contraindicated"
    bad = [finding["check"] for finding in result["appraisal"]["findings"] if finding["outcome"] != "affirming"]
    assert bad == ["debug"]


def test_event_log_counts_under_a_policy(attestd: Run, files: Files) -> None:
    policy = files.put("log.toml", factory.text(factory.TDX, {"tdx.event_log": '"required"'}).encode())
    assert attestd(*files.verify(), "--policy", policy)[0] == 5
    assert attestd(*files.verify(), "--policy", policy, "--event-log", files.put("log", ccel()))[0] == 0


def test_approved_images_count_under_a_policy(attestd: Run, files: Files) -> None:
    """There is no registry here: what is not named is not approved."""
    policy = files.put("registered.toml", factory.text(factory.TDX, {"tdx.images": '"registered"'}).encode())
    status, result = attestd(*files.verify(), "--policy", policy)
    bad = [finding for finding in result["appraisal"]["findings"] if finding["outcome"] != "affirming"]
    assert (status, [finding["check"] for finding in bad]) == (5, ["image"])
    digest = result["claims"]["image_digest"]
    assert bad[0]["got"] == digest
    approved = ("--approved-image", f"sha256:{digest}")
    other = ("--approved-image", "sha256:" + "00" * 32)
    assert attestd(*files.verify(), "--policy", policy, *other)[0] == 5
    assert attestd(*files.verify(), "--policy", policy, *other, *approved)[0] == 0


def test_policy_that_does_not_load_is_misuse(attestd: Run, files: Files) -> None:
    status, complaint = attestd(*files.verify(), "--policy", files.put("policy.toml", b"name = 1"))
    assert status == 1
    assert "[policy.malformed]" in complaint


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--tee", "any"),
        ("--tee", "SNP"),
        ("--at", "2026-01-31"),
        ("--at", "2026-01-31T12:00:00"),
        ("--at", "now"),
        ("--report-data", "00" * 63),
        ("--report-data", "0x" + "00" * 63),
        ("--nonce", "nonce"),
        ("--nonce", "0x00"),
        ("--approved-image", "00" * 32),
    ],
)
def test_misuse(files: Files, run_process: Callable[..., Any], option: str, value: str) -> None:
    process = run_process(*files.verify(), option, value)
    assert (process.returncode, process.stdout) == (1, "")
    assert process.stderr.startswith("usage: attestd")
    assert option in process.stderr


@pytest.mark.parametrize("option", ["--evidence", "--endorsements", "--event-log", "--policy"])
def test_missing_file_is_misuse(attestd: Run, files: Files, option: str) -> None:
    status, complaint = attestd(*files.verify(), option, files.folder / "none.zip")
    assert status == 1
    assert "none.zip: No such file or directory" in complaint


@pytest.mark.parametrize("content", [b"", b"no certificate"])
def test_anchor_that_is_none_is_misuse(attestd: Run, files: Files, content: bytes) -> None:
    status, complaint = attestd(*files.verify()[:-1], files.put("no-root.der", content))
    assert status == 1
    assert "[anchor.unpinned]" in complaint or "[settings.refused]" in complaint


def test_intel_s_own_root_beside_others_is_misuse(attestd: Run, files: Files) -> None:
    roots = files.folder / "roots"
    roots.mkdir()
    for root in (files.roots, shipped("certs") / "intel" / "sgx_root_ca.der"):
        (roots / root.name).write_bytes(root.read_bytes())
    status, complaint = attestd(*files.verify()[:-1], roots)
    assert status == 1
    assert "[anchor.mixed]" in complaint
    assert f"roots of intel beside SHA-256 {sha256(files.roots.read_bytes()).hexdigest()};" in complaint


def test_folder_without_anchors_is_misuse(attestd: Run, files: Files) -> None:
    (files.folder / "empty").mkdir()
    status, complaint = attestd(*files.verify()[:-1], files.folder / "empty")
    assert status == 1
    assert "[anchor.missing]" in complaint


def test_terminal_shows_the_verdict_and_every_register(on_terminal: Terminal, files: Files) -> None:
    status, shown = on_terminal(*files.verify(), "--policy", STRICT)
    assert status == 0
    assert shown.splitlines()[0] == "verified"
    assert "affirming under policy sha256:" in shown
    for name in ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mrseam"):
        assert getattr(TdReport(), name).hex() in shown


def test_terminal_says_that_authentic_is_not_acceptable(on_terminal: Terminal, files: Files) -> None:
    assert "not that it is acceptable" in on_terminal(*files.verify())[1]


def test_terminal_shows_why(on_terminal: Terminal, files: Files) -> None:
    status, shown = on_terminal(*files.verify(files.put("short", b"\x04\x00")))
    assert status == 2
    assert shown.splitlines()[0] == "malformed"
    assert "tdx.quote_truncated" in shown
    assert "acceptable" not in shown


def test_json_may_be_asked_for_on_a_terminal(on_terminal: Terminal, files: Files) -> None:
    assert on_terminal(*files.verify(), "--json")[1].startswith("{")
