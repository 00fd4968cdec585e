"""Every case of SEV-SNP evidence through the command, with the issuers and the CRL staged as an operator has them."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from attestd.claims import ProductLine
from attestd.codec import dump_time
from attestd.endorsements import write_bundle
from attestd.errors import Reason
from attestd.evidence import HclEvidence
from attestd.simulator import (
    AT,
    CHIPS,
    AmdVendor,
    Attester,
    KeyPair,
    Registry,
    SnpAttester,
    SnpReport,
    Vendor,
    pem,
)
from attestd.simulator.azure import BOOTED_PCRS
from attestd.snp.tpm import parse_quote
from tests.evidence import EVIDENCE, ROOT, SnpCase, snp_cases
from tests.snp.test_evidence_cases import FAILURES

Run = Callable[..., tuple[int, Any]]
Terminal = Callable[..., tuple[int, str]]

STATUS: Final = {"verified": 0, "malformed": 2, "rejected": 3, "unavailable": 4}
# CRLs of AMD's, and when they are in force.
CRLS: Final = {
    "Genoa": ("genoa_vcek_crl_20241023.der", datetime(2024, 10, 24, tzinfo=UTC), datetime(2025, 11, 3, tzinfo=UTC)),
    "Milan": ("milan_vcek_crl_20250506.der", datetime(2025, 5, 7, tzinfo=UTC), datetime(2026, 5, 12, tzinfo=UTC)),
}
AZURE_FAILURES: Final = {"runtime_data_hash_mismatch": {Reason.SNP_HCL_RUNTIME_HASH}}


def azure_cases() -> list[Any]:
    folders = sorted(path.parent for path in (EVIDENCE / "snp/azure-hcl").glob("*/expected.json"))
    skip = pytest.mark.skip(reason=f"no evidence at {EVIDENCE}: 2 cases not seen")
    return [pytest.param(SnpCase(folder), id=folder.name) for folder in folders] or [pytest.param(None, marks=skip)]


def with_report(*kinds: str) -> list[Any]:
    return [case for case in snp_cases(*kinds) if case.id != "real/turin-vcek-only"]


def is_genuine(case: SnpCase) -> bool:
    return bool(case.document["trust_anchor"] == "amd")


def stage(case: SnpCase, folder: Path) -> Path:
    """Make an endorsements folder: AMD's issuers, or the synthetic ones, and the CRL that there is."""
    genuine = is_genuine(case)
    if genuine:
        issuers = sorted((EVIDENCE / "snp/roots").glob("*_as*k.pem"))
    else:
        issuers = sorted((EVIDENCE / "snp/synthetic/roots").glob(f"{case.document['product'].lower()}_as*k.pem"))
    for path in issuers:
        shutil.copy(path, folder)
    if case.crl is not None:
        (folder / "crl.der").write_bytes(case.crl)
    elif genuine and (crl := amd_crl(case)) is not None:
        shutil.copy(EVIDENCE / "snp/roots" / crl, folder / "crl.der")
    return folder


def amd_crl(case: SnpCase) -> str | None:
    name, since, until = CRLS.get(case.document["product"], ("", AT, AT))
    return name if case.document["verification_time"] and since <= case.at < until else None


def common(case: SnpCase, folder: Path) -> list[object]:
    at = case.document["verification_time"] or dump_time(AT)
    arguments: list[object] = ["--endorsements", stage(case, folder), "--at", at]
    if is_genuine(case):
        return arguments
    (root,) = case.anchors.roots
    (folder / "root").write_bytes(root.der)
    return [*arguments, "--trust-anchors", folder / "root"]


def beside(case: SnpCase) -> list[object]:
    """Return what came with the report; of one case it is the whole synthetic chain."""
    if case.folder.name == "synthetic-chain-under-amd-anchor":
        roots = EVIDENCE / "snp/synthetic/roots"
        chain = (case.folder / "vcek.der", roots / "genoa_ask.pem")
        return [argument for path in chain for argument in ("--certificates", path)]
    names = [name for name in ("vcek.der", "vlek.der", "ask.pem", "ark.pem") if (case.folder / name).is_file()]
    return [argument for name in names for argument in ("--certificates", case.folder / name)]


def require(case: SnpCase, status: int, result: Any) -> None:
    document = case.document
    assert status == STATUS[result["outcome"]]
    match document["verdict"]:
        case "accept":
            assert (status, result["reason"]) == (0, None)
            for name in ("measurement", "report_data", "chip_id", "host_data", "report_id"):
                assert result["claims"][name] == document["report"][name]
            assert result["claims"]["crl_checked"] is (case.crl is not None or amd_crl(case) is not None)
        case "reject":
            failures = document.get("all_failures") or [document["reject_reason"]]
            table = FAILURES | AZURE_FAILURES
            assert result["reason"] in {reason.value for failure in failures for reason in table[failure]}
            assert (result["claims"], result["flags"]) == (None, [])
        case _:
            assert (status, result["reason"]) == (4, "snp.endorsements_missing")


@pytest.mark.parametrize("case", with_report("real", "derived", "synthetic"))
def test_case(case: SnpCase, attestd: Run, tmp_path: Path) -> None:
    evidence = ("--evidence", case.folder / "report.bin")
    require(case, *attestd("verify", "--tee", "snp", *evidence, *beside(case), *common(case, tmp_path)))


@pytest.mark.parametrize("case", snp_cases("cert-tables"))
def test_extended_report(case: SnpCase, attestd: Run, tmp_path: Path) -> None:
    """Behind the report, and beside it."""
    shared = common(case, tmp_path)
    extended = ("--evidence", case.folder / "extended_report.bin")
    require(case, *attestd("verify", "--tee", "snp", *extended, *shared))
    apart = ("--evidence", case.folder / "report.bin", "--certificates", case.folder / "cert_table.bin")
    require(case, *attestd("verify", "--tee", "snp", *apart, *shared))


@pytest.mark.parametrize("case", azure_cases())
def test_azure(case: SnpCase, attestd: Run, tmp_path: Path) -> None:
    folder, nonce = case.folder, case.document["expected_tpm_nonce_hex"]
    pcrs = tmp_path / "pcrs"
    pcrs.write_bytes(b"".join(map(bytes.fromhex, case.document["pcrs_sha256"])))
    quote = ("--tpm-quote", folder / "tpm_quote.msg", "--tpm-signature", folder / "tpm_quote.sig", "--tpm-pcrs", pcrs)
    shared = (*quote, *beside(case), *common(case, tmp_path))
    arguments = ("verify", "--tee", "snp", "--evidence", folder / "hcl_report.bin", *shared)
    require(case, *attestd(*arguments, "--nonce", nonce))
    if case.document["verdict"] == "accept":
        status, result = attestd(*arguments, "--nonce", nonce[:-2])
        assert (status, result["reason"]) == (3, "snp.vtpm_nonce")


@pytest.mark.parametrize("case", snp_cases("synthetic"))
def test_nothing_synthetic_below_amd_s_roots(case: SnpCase, attestd: Run, tmp_path: Path) -> None:
    arguments = ("--evidence", case.folder / "report.bin", *beside(case), "--at", case.document["verification_time"])
    issuers = tmp_path / "ask.pem"
    issuers.write_bytes(pem(case.issuer))
    for extra in ((), ("--endorsements", issuers), ("--certificates", issuers)):
        status, result = attestd("verify", "--tee", "snp", *arguments, *extra)
        assert status in (2, 3, 4)
        assert result["claims"] is None


def test_certificate_alone(attestd: Run, tmp_path: Path) -> None:
    (case,) = [case.values[0] for case in snp_cases("real") if case.id in ("real/turin-vcek-only", "absent")]
    if case is None:
        pytest.skip("no evidence")
    assert case.document["reject_reason"] == "report_missing"
    shutil.copy(case.folder / "vcek.der", tmp_path)
    shutil.copy(EVIDENCE / "snp/roots/turin_ask.pem", tmp_path)
    status, shown = attestd("endorsements", "list", tmp_path, "--at", dump_time(AT))
    (vcek,) = [row for row in shown["amd"] if row["kind"] == "vcek"]
    cert = case.document["cert"]
    assert (status, vcek["product_line"], vcek["content"]["hwid"]) == (0, "Turin", cert["hwid"])
    assert vcek["content"]["tcb"] == {name: cert[name] for name in ("fmc", "bootloader", "tee", "snp", "microcode")}


# ---------------------------------------------------------------------------------------------------------------------
# Where endorsements come from


class Staged:
    """A simulated report, and what its vendor has to say, in files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.vendor = AmdVendor.of()
        self.attester = SnpAttester.of(self.vendor)
        self.store = folder / "store"
        self.report = self.put("report.bin", self.attester.report())
        self.roots = self.put("ark.der", self.vendor.ark.der)
        self.vcek = self.put("store/vcek/ab/bl10_tee00_snp27_ucode84_vcek.der", self.attester.vek.der)
        self.ask = self.put("store/cert_chain.pem", pem(self.vendor.ask.der, self.vendor.ark.der))
        self.crl = self.put("store/crl.der", self.vendor.crl())

    def put(self, name: str, raw: bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
        return path

    def verify(self, *endorsements: object, at: str = dump_time(AT)) -> list[object]:
        given = [argument for path in endorsements or (self.store,) for argument in ("--endorsements", path)]
        shared = ("--at", at, "--trust-anchors", self.roots)
        return ["verify", "--tee", "snp", "--evidence", self.report, *given, *shared]


@pytest.fixture
def staged(tmp_path: Path) -> Staged:
    return Staged(tmp_path)


def test_folder_archive_and_single_files(attestd: Run, staged: Staged) -> None:
    archive = shutil.make_archive(str(staged.folder / "store"), "gztar", staged.folder, "store")
    for sources in ((staged.store,), (archive,), (staged.vcek, staged.ask, staged.crl)):
        status, result = attestd(*staged.verify(*sources))
        assert (status, result["outcome"]) == (0, "verified")
        assert result["claims"]["crl_checked"] is True
    status, result = attestd(*staged.verify(staged.vcek, staged.ask))
    assert (status, result["claims"]["crl_checked"]) == (0, False)


def test_what_is_missing(attestd: Run, staged: Staged) -> None:
    for rest in ((staged.ask, staged.crl), (staged.crl,)):
        status, result = attestd(*staged.verify(*rest))
        assert (status, result["reason"]) == (4, "snp.endorsements_missing")
    beside = ("--certificates", staged.vcek)
    status, result = attestd(*staged.verify(staged.crl), *beside)
    assert (status, result["reason"]) == (4, "snp.endorsements_missing")
    assert attestd(*staged.verify(staged.ask), *beside)[0] == 0
    # A VCEK among the endorsements is of no use without its ASK.
    status, result = attestd(*staged.verify(staged.vcek))
    assert (status, result["reason"]) == (4, "snp.endorsements_missing")


def test_revoked(attestd: Run, staged: Staged) -> None:
    staged.crl.write_bytes(staged.vendor.crl([staged.vendor.ask.serial_number]))
    status, result = attestd(*staged.verify())
    assert (status, result["outcome"], result["reason"]) == (3, "rejected", "snp.ask_revoked")


def test_refused_document_refuses_all(attestd: Run, staged: Staged) -> None:
    staged.put("store/milan_crl.der", AmdVendor.of(ProductLine.MILAN).crl())
    status, result = attestd(*staged.verify())
    assert (status, result["reason"]) == (3, "snp.crl_issuer")


def test_certificates_of_other_times(attestd: Run, staged: Staged) -> None:
    """A store has them for other reports; one that is named is wanted."""
    chip = CHIPS[ProductLine.GENOA]
    expired = staged.put("store/old_vcek.der", old_vcek(staged, chip.hwid[::-1]))
    assert attestd(*staged.verify())[0] == 0
    status, result = attestd(*staged.verify(staged.store, expired))
    assert (status, result["reason"]) == (3, "snp.vek_expired")


def old_vcek(staged: Staged, hwid: bytes) -> bytes:
    chip = replace(staged.attester.chip, hwid=hwid)
    return staged.vendor.issue_vek(chip, lambda form: replace(form, not_after=staged.vendor.issued)).der


def test_a_table_or_certificates_in_pem_beside(attestd: Run, staged: Staged) -> None:
    table = staged.put("table", staged.attester.certificate_table(staged.vendor.crl()))
    chain = staged.put("chain", pem(*staged.attester.chain))
    for path, checked in ((table, True), (chain, False)):
        status, result = attestd(*staged.verify(staged.ask), "--certificates", path)
        assert (status, result["claims"]["crl_checked"]) == (0, checked)
    one_by_one = [argument for name in (staged.vcek, staged.ask) for argument in ("--certificates", name)]
    assert attestd(*staged.verify(staged.crl), *one_by_one)[0] == 0
    status, result = attestd(*staged.verify(), "--certificates", staged.put("large", bytes(64 * 1024 + 1)))
    assert (status, result["reason"]) == (2, "evidence.size")


def test_other_vendors_files_go_with_other_evidence(attestd: Run, staged: Staged) -> None:
    intel = staged.put("tcb_info.json", Vendor.of().tcb_info())
    status, result = attestd(*staged.verify(staged.store, intel))
    assert (status, result["reason"]) == (2, "endorsements.file")
    vendor = Vendor.of()
    quote = staged.put("quote.bin", Attester.of(vendor).quote())
    shared = ("--at", dump_time(AT), "--trust-anchors", staged.put("root.der", vendor.root.der))
    arguments = ("verify", "--tee", "tdx", "--evidence", quote, *shared)
    status, result = attestd(*arguments, "--endorsements", staged.crl)
    assert (status, result["reason"]) == (2, "endorsements.file")
    # A folder may hold what both vendors say.
    write_bundle(staged.store / "tdx", vendor.collateral())
    assert attestd(*arguments, "--endorsements", staged.store)[0] == 0
    assert attestd(*staged.verify())[0] == 0


def test_terminal_shows_the_key_and_whether_a_crl_was_looked_up(on_terminal: Terminal, staged: Staged) -> None:
    for sources, crl in (((), "looked up"), ((staged.vcek, staged.ask), "none was there")):
        status, shown = on_terminal(*staged.verify(*sources))
        assert (status, shown.splitlines()[0]) == (0, "verified")
        lines = [line.split(maxsplit=2) for line in shown.splitlines()]
        assert ["product", "line", "Genoa"] in lines
        assert ["signing", "key", "vcek"] in lines
        assert [line.removeprefix("crl").strip() for line in shown.splitlines() if line.startswith("crl ")] == [crl]
        assert "vtpm:" not in shown


def test_terminal_shows_the_vtpm(on_terminal: Terminal, staged: Staged) -> None:
    evidence = staged.attester.hcl_evidence(KeyPair.ed25519(), Registry()).cpu
    assert isinstance(evidence, HclEvidence)
    quote = evidence.tpm_quote
    staged.report.write_bytes(evidence.hcl_report)
    beside = ("--tpm-quote", staged.put("quote", quote.message), "--tpm-signature", staged.put("sig", quote.signature))
    for pcrs in (quote.pcrs, None):
        told = [] if pcrs is None else ["--tpm-pcrs", staged.put("pcrs", pcrs)]
        status, shown = on_terminal(*staged.verify(), *beside, *told)
        assert status == 0
        rows = dict(line.split("  ", 1) for line in shown.partition("vtpm:\n")[2].partition("\n\n")[0].splitlines())
        assert rows["extra_data"].strip() == parse_quote(quote.message).extra_data.hex()
        assert "secure_boot yes" in rows["vm_configuration"]
        found = [rows[name].strip() for name in rows if name.startswith("pcr ")]
        assert found == ([] if pcrs is None else [value.hex() for value in BOOTED_PCRS])


def test_terminal_shows_what_a_policy_wants(on_terminal: Terminal, staged: Staged) -> None:
    _, shown = on_terminal(*staged.verify(), "--policy", ROOT / "policies/strict-snp.toml")
    assert "bits that are set: alias_check_complete, ecc; bits that are not: none" in shown
    assert "at least: snp, 27" in shown


def test_report_data(attestd: Run, staged: Staged) -> None:
    report_data = SnpReport().report_data
    assert attestd(*staged.verify(), "--report-data", report_data.hex())[0] == 0
    status, result = attestd(*staged.verify(), "--report-data", report_data[::-1].hex())
    assert (status, result["reason"]) == (3, "binding.report_data")


def test_policy_that_requires_a_crl(attestd: Run, staged: Staged) -> None:
    policy = ("--policy", ROOT / "policies/strict-snp.toml")
    assert attestd(*staged.verify(), *policy)[0] in (0, 5)
    for beside in ((), ("--certificates", staged.put("chain", pem(*staged.attester.chain)))):
        status, result = attestd(*staged.verify(staged.vcek, staged.ask), *beside, *policy)
        assert (status, result["reason"]) == (4, "snp.endorsements_missing")
        assert "CRL" in result["detail"]
    table = staged.put("table", staged.attester.certificate_table(staged.vendor.crl()))
    assert attestd(*staged.verify(staged.ask), "--certificates", table, *policy)[0] in (0, 5)
