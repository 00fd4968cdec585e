"""What `attestd inspect` shows of SEV-SNP: reports, what is around them, certificates and CRLs."""

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from attestd.claims import ProductLine
from attestd.codec import dump_digest
from attestd.simulator import (
    DEBUG_ALLOWED,
    AmdVendor,
    Chip,
    HclForm,
    SnpAttester,
    SnpReport,
    flip,
    pem,
)
from attestd.simulator.certtable import VCEK_GUID, TableEntry, certificate_table
from attestd.simulator.vek import CHIPS, GENOA
from attestd.snp.report import REPORT_SIZE, parse_report
from tests.cli.conftest import Files
from tests.evidence import EVIDENCE, ROOT, SnpCase, snp_case, snp_cases

Run = Callable[..., tuple[int, Any]]
Terminal = Callable[..., tuple[int, str]]

VENDOR = AmdVendor.of()
ATTESTER = SnpAttester.of(VENDOR)
VLEK_CHIP = replace(GENOA, kind="vlek")


def attester(line: ProductLine = ProductLine.GENOA, chip: Chip | None = None) -> SnpAttester:
    return SnpAttester.of(AmdVendor.of(line), chip)


# ---------------------------------------------------------------------------------------------------------------------
# Reports


@pytest.mark.parametrize("line", list(ProductLine))
def test_report(attestd: Run, files: Files, line: ProductLine) -> None:
    raw = attester(line).report()
    status, shown = attestd("inspect", files.put("report.bin", raw))
    assert status == 0
    assert (shown["verified"], shown["kind"], shown["tee"], shown["version"]) == (False, "snp_report", "snp", 5)
    assert shown["evidence_id"] == dump_digest(parse_report(raw).evidence_id)
    assert (shown["product_line"], shown["flags"]) == (line.value, [])
    assert shown["body"]["measurement"] == SnpReport().measurement.hex()
    assert shown["body"]["report_data"] == SnpReport().report_data.hex()
    assert shown["body"]["chip_id"] == CHIPS[line].hwid.ljust(64, b"\0").hex()
    tcb = {name: spl for name, spl in CHIPS[line].tcb._asdict().items() if spl is not None}
    assert shown["tcb"] == dict.fromkeys(("reported", "committed", "current", "launch"), tcb)
    assert ("fmc" in tcb) == (line is ProductLine.TURIN)
    assert (shown["certificates"], shown["crl"]) == ([], None)


def test_image_digest_is_the_verified_one(attestd: Run, files: Files) -> None:
    report = files.put("report.bin", ATTESTER.report())
    table = files.put("table.bin", ATTESTER.certificate_table())
    ark = files.put("ark.der", VENDOR.ark.der)
    arguments = ("--tee", "snp", "--evidence", report, "--certificates", table, "--trust-anchors", ark)
    status, verified = attestd("verify", *arguments, "--at", files.at)
    assert (status, verified["reason"]) == (0, None)
    shown = attestd("inspect", report)[1]
    assert shown["image_digest"] == verified["claims"]["image_digest"]
    assert shown["evidence_id"] == verified["evidence_id"]
    assert shown["flags"] == verified["flags"]
    assert shown["body"].items() <= verified["claims"].items()
    assert {f"{name}_tcb": tcb for name, tcb in shown["tcb"].items()}.items() <= verified["claims"].items()


def test_bits_have_names(attestd: Run, files: Files) -> None:
    body = SnpReport(policy=0x3011F | DEBUG_ALLOWED | 1 << 20, platform_info=0b1100101 | 1 << 40)
    shown = attestd("inspect", files.put("report", ATTESTER.report(body)))[1]
    assert shown["guest_policy"] == {
        "min_abi": "1.31",
        "set": ["smt", "debug", "single_socket"],
        "clear": [
            "migrate_ma",
            "cxl_allow",
            "mem_aes_256_xts",
            "rapl_dis",
            "ciphertext_hiding_dram",
            "page_swap_disable",
        ],
    }
    assert shown["platform_info"] == {
        "set": ["smt", "ecc", "alias_check_complete", "bit_6", "bit_40"],
        "clear": ["tsme", "rapl_dis", "ciphertext_hiding_dram", "tio"],
    }
    assert (shown["body"]["policy"], shown["body"]["platform_info"]) == ("0x1b011f", "0x10000000065")
    assert shown["flags"] == ["debug"]


def test_provisional_firmware(attestd: Run, files: Files) -> None:
    older = bytes((9, 0, 0, 0, 0, 0, 27, 84))
    for body in (SnpReport(committed_tcb=older), SnpReport(committed_build=1)):
        assert attestd("inspect", files.put("report", ATTESTER.report(body)))[1]["flags"] == ["provisional_firmware"]


def test_forged_report_is_shown_all_the_same(attestd: Run, files: Files) -> None:
    status, shown = attestd("inspect", files.put("report", flip(0x90)(ATTESTER.report())))
    assert (status, shown["verified"]) == (0, False)


def test_version_2_tells_no_product_line(attestd: Run, files: Files) -> None:
    """Then the layout of its TCB versions is not known, unless a certificate came along."""
    raw = ATTESTER.report(SnpReport(version=2))
    shown = attestd("inspect", files.put("report", raw))[1]
    assert (shown["product_line"], shown["body"]["cpuid_fam_id"]) == (None, None)
    assert shown["tcb"]["reported"] == "0a00000000001b54"
    extended = attestd("inspect", files.put("extended", raw + ATTESTER.certificate_table()))[1]
    assert extended["product_line"] == "Genoa"
    assert extended["tcb"]["reported"] == {"bootloader": 10, "tee": 0, "snp": 27, "microcode": 84}
    # One that does not parse tells nothing.
    broken = certificate_table((TableEntry(VCEK_GUID, b"\x30\x82nonsense"),))
    shown = attestd("inspect", files.put("broken", raw + broken))[1]
    assert (shown["product_line"], shown["tcb"]["reported"]) == (None, "0a00000000001b54")
    assert [one["reason"] for one in shown["certificates"]] == ["der.malformed"]


def test_tcb_version_that_is_none_is_shown_as_it_stands(attestd: Run, files: Files) -> None:
    odd = bytes((10, 0, 1, 0, 0, 0, 27, 84))
    shown = attestd("inspect", files.put("report", ATTESTER.report(SnpReport(launch_tcb=odd))))[1]
    assert (shown["tcb"]["launch"], shown["tcb"]["current"]["snp"]) == (odd.hex(), 27)


def test_extended_report(attestd: Run, files: Files) -> None:
    raw = ATTESTER.report() + ATTESTER.certificate_table(VENDOR.crl())
    status, shown = attestd("inspect", files.put("extended", raw))
    assert (status, shown["kind"]) == (0, "snp_report")
    assert [one["role"] for one in shown["certificates"]] == ["vcek", "ask", "ark"]
    assert shown["certificates"][0]["platform"]["hwid"] == shown["body"]["chip_id"]
    assert [one["serial_number"] for one in shown["crl"]["revoked"]] == ["20001"]
    raw = ATTESTER.report() + ATTESTER.certificate_table(b"nonsense")
    assert attestd("inspect", files.put("extended", raw))[1]["crl"]["reason"] == "snp.crl_malformed"


def test_hcl_report(attestd: Run, files: Files) -> None:
    status, shown = attestd("inspect", files.put("hcl.bin", ATTESTER.hcl_report(form=HclForm(version=2))))
    assert (status, shown["verified"], shown["kind"], shown["version"]) == (0, False, "hcl_report", 2)
    assert (shown["ak_bits"], len(shown["ak_thumbprint"])) == (2048, 64)
    assert shown["report_data_is_of_the_runtime_data"] is True
    assert shown["report"]["kind"] == "snp_report"
    assert shown["report"]["body"]["vmpl"] == 0
    tampered = ATTESTER.hcl_report().replace(b"secure-boot", b"secure-b00t")
    assert attestd("inspect", files.put("other.bin", tampered))[1]["report_data_is_of_the_runtime_data"] is False


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\2\0\0\0", "snp.report_size"),
        (ATTESTER.report()[:-1], "snp.report_size"),
        (b"\6" + ATTESTER.report()[1:], "snp.report_version"),
        (ATTESTER.report() + b"\0", "snp.cert_table"),
        (b"HCLA", "snp.hcl_malformed"),
        (ATTESTER.hcl_report()[:0x20] + bytes(REPORT_SIZE) + ATTESTER.hcl_report()[0x4C0:], "snp.report_version"),
    ],
)
def test_what_does_not_parse_is_malformed(attestd: Run, files: Files, raw: bytes, reason: str) -> None:
    status, complaint = attestd("inspect", files.put("file", raw))
    assert (status, f"[{reason}]" in complaint) == (2, True)


# ---------------------------------------------------------------------------------------------------------------------
# Certificates and CRLs


@pytest.mark.parametrize("chip", [None, VLEK_CHIP, CHIPS[ProductLine.TURIN]])
@pytest.mark.parametrize("encode", [bytes, pem])
def test_vek(attestd: Run, files: Files, chip: Chip | None, encode: Callable[[bytes], bytes]) -> None:
    made = attester(GENOA.line if chip is None else chip.line, chip)
    status, shown = attestd("inspect", files.put("vek", encode(made.chain[0])))
    assert (status, shown["verified"], shown["kind"], shown["tee"]) == (0, False, "certificates", "snp")
    (one,) = shown["certificates"]
    kind = made.chip.kind
    assert (one["role"], one["common_name"], one["serial_number"]) == (kind, f"SEV-{kind.upper()}", "0")
    assert one["issuer"] == f"SEV-{'VLEK-' if kind == 'vlek' else ''}{made.chip.line}"
    assert one["sha256"] == sha256(made.chain[0]).hexdigest()
    assert one["not_before"] < one["not_after"]
    platform = one["platform"]
    assert platform["product_line"] == made.chip.line.value
    assert platform["tcb"].items() <= made.chip.tcb._asdict().items()
    assert platform["hwid"] == (made.chip.hwid.hex() if kind == "vcek" else None)
    assert platform["csp_id"] == (made.chip.csp_id if kind == "vlek" else None)


def test_chain_of_the_kds(attestd: Run, files: Files) -> None:
    chain = pem(VENDOR.asvk.der, VENDOR.ark.der)
    asvk, ark = attestd("inspect", files.put("cert_chain", chain))[1]["certificates"]
    assert (asvk["role"], asvk["issuer"]) == ("asvk", "ARK-Genoa")
    assert (ark["role"], ark["pinned"]) == ("ark", False)
    assert attestd("inspect", files.put("ask.der", VENDOR.ask.der))[1]["certificates"][0]["role"] == "ask"


def test_pinned_root_is_said_to_be(attestd: Run) -> None:
    for line in ("milan", "genoa", "turin"):
        (ark,) = attestd("inspect", ROOT / f"certs/amd/ark_{line}.der")[1]["certificates"]
        assert (ark["role"], ark["pinned"]) == ("ark", True)


def test_certificate_with_wrong_extensions_is_named(attestd: Run, files: Files) -> None:
    bare = SnpAttester.of(VENDOR, edit=lambda form: replace(form, extensions=form.extensions[1:]))
    (one,) = attestd("inspect", files.put("vcek.der", bare.chain[0]))[1]["certificates"]
    assert (one["role"], one["platform"]["reason"]) == ("vcek", "snp.vek_extension")


def test_certificate_of_another_name(attestd: Run, files: Files) -> None:
    other = VENDOR.reissue("ask", lambda form: replace(form, subject=VENDOR.ark.form.subject[:-5] + b"Italy"))
    (one,) = attestd("inspect", files.put("ask.der", other.ask.der))[1]["certificates"]
    assert (one["role"], one["common_name"]) == (None, "ARK-Italy")
    assert "platform" not in one


def test_crl(attestd: Run, files: Files) -> None:
    status, shown = attestd("inspect", files.put("crl.der", VENDOR.crl([0x20101])))
    assert (status, shown["verified"], shown["kind"], shown["number"]) == (0, False, "crl", 4)
    assert "CN=ARK-Genoa" in shown["issuer"]
    assert {one["serial_number"] for one in shown["revoked"]} == {"20001", "20101"}
    assert shown["revoked"][0]["revoked_at"] == "2022-10-31T12:00:00Z"
    assert shown["this_update"] < shown["next_update"]


def test_crl_without_number_and_end(attestd: Run, files: Files) -> None:
    raw = VENDOR.crl(edit=lambda form: replace(form, extensions=(), next_update=None, revoked=()))
    shown = attestd("inspect", files.put("crl.der", raw))[1]
    assert (shown["number"], shown["next_update"], shown["revoked"]) == (None, None, [])


def test_crl_of_intel(attestd: Run, files: Files) -> None:
    shown = attestd("inspect", files.collateral / "root_ca_crl.der")[1]
    assert shown["kind"] == "crl"
    assert "Root" in shown["issuer"]


def test_certificates_of_others_are_not_amds(attestd: Run, files: Files) -> None:
    for raw in (files.vendor.root.der, pem(files.vendor.root.der)):
        status, complaint = attestd("inspect", files.put("root", raw))
        assert (status, "[binding.certificate]" in complaint) == (2, True)


# ---------------------------------------------------------------------------------------------------------------------
# On the terminal, and genuine


def test_terminal(on_terminal: Terminal, files: Files) -> None:
    raw = ATTESTER.report() + ATTESTER.certificate_table(VENDOR.crl())
    status, text = on_terminal("inspect", files.put("extended", raw))
    assert status == 0
    assert text.startswith("unverified: nothing was verified")
    rows = [line.split(maxsplit=1) for line in text.splitlines()]
    assert ["reported", "bootloader 10, tee 0, snp 27, microcode 84"] in rows
    assert ["set", "smt, ecc, alias_check_complete"] in rows
    assert ["measurement", SnpReport().measurement.hex()] in rows
    assert ["certificates[0].platform:"] in rows
    assert ["common_name", "SEV-VCEK"] in rows
    assert ["20001", "2022-10-31T12:00:00Z"] in rows
    assert "{" not in text


def test_terminal_shows_an_hcl_report(on_terminal: Terminal, files: Files) -> None:
    _, text = on_terminal("inspect", files.put("hcl", ATTESTER.hcl_report()))
    assert text.startswith("unverified: nothing was verified")
    assert "\nreport.guest_policy:\n" in text
    assert "\nvm_configuration:\n" in text


def test_a_certificate_cannot_draw_on_the_terminal(on_terminal: Terminal, files: Files) -> None:
    name = VENDOR.ark.form.subject
    other = VENDOR.reissue("ask", lambda form: replace(form, subject=name[:-5] + b"\x1b[2J\n"))
    _, text = on_terminal("inspect", files.put("ask.der", other.ask.der))
    assert "\x1b" not in text
    assert "ARK-\\u001b[2J\\u000a" in text


SHOWN_OF_A_REPORT = (
    *("version", "guest_svn", "policy", "family_id", "image_id", "vmpl", "platform_info", "report_data", "measurement"),
    *("host_data", "id_key_digest", "author_key_digest", "report_id", "report_id_ma", "chip_id"),
    *("current_version", "committed_version"),
)


@pytest.mark.parametrize("case", snp_cases("real", "cert-tables"))
def test_genuine_reports(attestd: Run, case: SnpCase) -> None:
    expected = case.document.get("report")
    if expected is None:
        assert not (case.folder / "report.bin").exists()
        return
    status, shown = attestd("inspect", case.folder / "report.bin")
    assert (status, shown["verified"], shown["kind"]) == (0, False, "snp_report")
    assert {name: shown["body"][name] for name in SHOWN_OF_A_REPORT} == {
        name: expected[name] for name in SHOWN_OF_A_REPORT
    }
    if shown["product_line"] is None:
        assert (expected["version"], shown["tcb"]["reported"]) == (2, expected["reported_tcb_hex"])
        return
    assert shown["product_line"] == case.document["product"]
    assert {f"{name}_tcb": tcb for name, tcb in shown["tcb"].items()}.items() <= expected.items()


@pytest.mark.parametrize("case", snp_cases("real"))
def test_genuine_certificates(attestd: Run, case: SnpCase) -> None:
    expected: dict[str, Any] = case.document.get("cert", {})
    found = [case.folder / name for name in ("vcek.der", "vlek.der") if (case.folder / name).is_file()]
    assert len(found) == bool(expected)
    for path in found:
        (one,) = attestd("inspect", path)[1]["certificates"]
        assert (one["common_name"], one["issuer"]) == (expected["cn"], expected["issuer_cn"])
        platform = one["platform"]
        assert platform["product_name"] == expected["product"]
        assert platform["tcb"].items() <= expected.items()
        assert (platform["hwid"], platform["csp_id"]) == (expected.get("hwid"), expected.get("csp_id"))


def test_genuine_hcl_report(attestd: Run) -> None:
    folder = EVIDENCE / "snp/azure-hcl/milan-v3-quote"
    if not folder.is_dir():
        pytest.skip(f"no evidence at {EVIDENCE}: {folder.name} not seen")
    shown = attestd("inspect", folder / "hcl_report.bin")[1]
    assert shown["report_data_is_of_the_runtime_data"] is True
    assert (shown["report"]["product_line"], shown["vm_configuration"]["secure_boot"]) == ("Milan", True)


def test_genuine_turin(attestd: Run) -> None:
    shown = attestd("inspect", snp_case("real/turin-v5-aci").folder / "report.bin")[1]
    assert shown["product_line"] == "Turin"
    assert shown["tcb"]["reported"] == {"fmc": 1, "bootloader": 1, "tee": 1, "snp": 4, "microcode": 81}
    assert "bit_6" in shown["platform_info"]["set"]
