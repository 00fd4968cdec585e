from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from attestd.simulator import AmdVendor, KeyPair, SgxReport, SnpAttester, SnpReport, TdReport
from tests.cli.conftest import Files
from tests.policy import factory

Run = Callable[..., tuple[int, Any]]
Terminal = Callable[..., tuple[int, str]]

TD = TdReport()
OTHER = "ab" * 48


REGISTERS = {
    "tdx": ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mrconfigid", "mrowner", "mrownerconfig"),
    "sgx": ("mrenclave", "mrsigner", "isvprodid", "min_isvsvn"),
    "snp": ("measurement", "host_data", "family_id", "image_id"),
}
SECTIONS = {"tdx": factory.TDX, "sgx": factory.SGX, "snp": factory.SNP}


def image(name: str, *, tee: str = "tdx", not_after: str = "'any'", **pins: str | int) -> str:
    registers: dict[str, str | int] = {} if "image_digest" in pins else dict.fromkeys(REGISTERS[tee], "any")
    least = {"min_guest_svn": 0} if tee == "snp" else {}
    fields = {"name": name, "role": "worker", **registers, **least, **pins}
    listed = ", ".join(f"{name} = {value!r}" for name, value in fields.items())
    return f"{{{listed}, not_after = {not_after}}}"


def policy(files: Files, tee: str = "tdx", *images: str) -> object:
    listed = "[" + ", ".join(images) + "]" if images else '"any"'
    text = factory.text(SECTIONS[tee], {f"{tee}.images": listed})
    return files.put("policy.toml", text.encode())


def test_the_same_image(attestd: Run, files: Files) -> None:
    under = policy(files, "tdx", image("ours", mrtd=TD.mrtd.hex(), rtmr1=TD.rtmr1.hex()))
    status, shown = attestd("diff", files.quote, "--policy", under)
    assert (status, shown["verified"], shown["accepted"]) == (0, False, True)
    assert shown["measurements"]["rtmr2"] == TD.rtmr2.hex()
    assert shown["images"] == [
        {
            "name": "ours",
            "role": "worker",
            "not_after": None,
            "outcome": "same",
            "registers": [
                {"register": "mrtd", "outcome": "same", "got": TD.mrtd.hex(), "want": TD.mrtd.hex()},
                {"register": "rtmr1", "outcome": "same", "got": TD.rtmr1.hex(), "want": TD.rtmr1.hex()},
            ],
        }
    ]


def test_each_image_is_compared_by_itself(attestd: Run, files: Files) -> None:
    under = policy(
        files,
        "tdx",
        image("first", mrtd=TD.mrtd.hex(), rtmr1=OTHER),
        image("second", mrtd=OTHER, rtmr1=TD.rtmr1.hex()),
    )
    status, shown = attestd("diff", files.quote, "--policy", under)
    assert (status, shown["accepted"]) == (5, False)
    differing = {
        image["name"]: [register["register"] for register in image["registers"] if register["outcome"] == "differs"]
        for image in shown["images"]
    }
    assert differing == {"first": ["rtmr1"], "second": ["mrtd"]}


def test_image_digest(attestd: Run, files: Files) -> None:
    digest = attestd("inspect", files.quote)[1]["image_digest"]
    assert attestd("diff", files.quote, "--policy", policy(files, "tdx", image("a", image_digest=digest)))[0] == 0
    wrong = policy(files, "tdx", image("a", image_digest="00" * 32))
    status, shown = attestd("diff", files.quote, "--policy", wrong)
    assert status == 5
    assert shown["images"][0]["registers"][0]["got"] == digest


def test_ra_tls_certificate(attestd: Run, files: Files) -> None:
    certificate = files.put("cert.der", files.attester.cocoon_certificate(KeyPair.ed25519("enclave")))
    assert attestd("diff", certificate, "--policy", policy(files, "tdx", image("a", mrtd=TD.mrtd.hex())))[0] == 0


@pytest.mark.parametrize(("least", "status"), [(SgxReport().isvsvn, 0), (SgxReport().isvsvn + 1, 5)])
def test_enclave(attestd: Run, files: Files, least: int, status: int) -> None:
    body = SgxReport()
    ours = image("enclave", tee="sgx", mrsigner=body.mrsigner.hex(), isvprodid=body.isvprodid, min_isvsvn=least)
    quote = files.put("sgx.bin", files.attester.quote(body))
    got, shown = attestd("diff", quote, "--policy", policy(files, "sgx", ours))
    assert got == status
    assert [register["register"] for register in shown["images"][0]["registers"]] == [
        *("mrsigner", "isvprodid"),
        *(["isvsvn"] if status else []),
    ]


SNP = SnpReport()


@pytest.fixture
def report(files: Files) -> Path:
    return files.put("report.bin", SnpAttester.of(AmdVendor.of()).report())


def test_report(attestd: Run, files: Files, report: Path) -> None:
    ours = image("ours", tee="snp", measurement=SNP.measurement.hex(), family_id=SNP.family_id.hex())
    status, shown = attestd("diff", report, "--policy", policy(files, "snp", ours))
    assert (status, shown["verified"], shown["accepted"], shown["tee"]) == (0, False, True, "snp")
    assert shown["measurements"] == {
        "measurement": SNP.measurement.hex(),
        "host_data": SNP.host_data.hex(),
        "family_id": SNP.family_id.hex(),
        "image_id": SNP.image_id.hex(),
        "guest_svn": SNP.guest_svn,
        "image_digest": sha256(SNP.measurement + bytes(64)).hexdigest(),
    }
    assert [(row["register"], row["outcome"]) for row in shown["images"][0]["registers"]] == [
        ("measurement", "same"),
        ("family_id", "same"),
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [("measurement", OTHER), ("host_data", "ab" * 32), ("family_id", "ab" * 16), ("image_id", "ab" * 16)],
)
def test_each_register_of_a_report(attestd: Run, files: Files, report: Path, name: str, value: str) -> None:
    right: dict[str, Any] = {register: getattr(SNP, register).hex() for register in REGISTERS["snp"]}
    other = image("other", tee="snp", **(right | {name: value}))
    status, shown = attestd("diff", report, "--policy", policy(files, "snp", other))
    assert (status, shown["accepted"]) == (5, False)
    differing = [row["register"] for row in shown["images"][0]["registers"] if row["outcome"] == "differs"]
    assert differing == [name]


@pytest.mark.parametrize(("least", "status"), [(SNP.guest_svn, 0), (SNP.guest_svn + 1, 5)])
def test_guest_svn(attestd: Run, files: Files, report: Path, least: int, status: int) -> None:
    ours = image("ours", tee="snp", measurement=SNP.measurement.hex(), min_guest_svn=least)
    got, shown = attestd("diff", report, "--policy", policy(files, "snp", ours))
    assert got == status
    assert [row["register"] for row in shown["images"][0]["registers"]] == [
        "measurement",
        *(["guest_svn"] if status else []),
    ]


def test_reports_with_more_around_them(attestd: Run, files: Files, report: Path) -> None:
    attester = SnpAttester.of(AmdVendor.of())
    under = policy(files, "snp", image("ours", tee="snp", measurement=SNP.measurement.hex()))
    for raw in (report.read_bytes() + attester.certificate_table(), attester.hcl_report()):
        assert attestd("diff", files.put("more.bin", raw), "--policy", under)[0] == 0


def test_a_report_is_no_image_of_another_section(
    attestd: Run, on_terminal: Terminal, files: Files, report: Path
) -> None:
    status, shown = attestd("diff", report, "--policy", policy(files))
    assert (status, shown["accepted"], shown["images"]) == (5, False, [])
    assert "no image of snp" in on_terminal("diff", report, "--policy", policy(files))[1]
    assert attestd("diff", files.quote, "--policy", policy(files, "snp"))[0] == 5
    assert attestd("diff", report, "--policy", policy(files, "snp"))[0] == 0


def test_any_image(attestd: Run, on_terminal: Terminal, files: Files) -> None:
    status, shown = attestd("diff", files.quote, "--policy", policy(files))
    assert (status, shown["accepted"], shown["images"]) == (0, True, None)
    assert "any image" in on_terminal("diff", files.quote, "--policy", policy(files))[1]


def test_images_of_the_registry(attestd: Run, on_terminal: Terminal, files: Files) -> None:
    """Nobody is asked: whether the image is approved is not said."""
    under = files.put("policy.toml", factory.text(factory.TDX, {"tdx.images": '"registered"'}).encode())
    status, shown = attestd("diff", files.quote, "--policy", under)
    assert (status, shown["accepted"], shown["images"]) == (5, False, "registered")
    assert "that the registry has approved" in on_terminal("diff", files.quote, "--policy", under)[1]


def test_no_section_for_the_tee(attestd: Run, on_terminal: Terminal, files: Files) -> None:
    status, shown = attestd("diff", files.quote, "--policy", policy(files, "sgx"))
    assert (status, shown["accepted"], shown["images"]) == (5, False, [])
    assert "no image of tdx" in on_terminal("diff", files.quote, "--policy", policy(files, "sgx"))[1]


def test_terminal_shows_what_differs(on_terminal: Terminal, files: Files) -> None:
    under = policy(files, "tdx", image("ours", mrtd=TD.mrtd.hex(), rtmr1=OTHER, not_after="2027-01-01T00:00:00Z"))
    status, shown = on_terminal("diff", files.quote, "--policy", under)
    assert status == 5
    lines = shown.splitlines()
    assert lines[0].startswith("unverified: nothing was verified")
    assert lines[2] == "ours (worker, until 2027-01-01T00:00:00Z): differs"
    assert "  mrtd: same" in lines
    assert lines[lines.index("  rtmr1: differs") + 1].split() == ["found", TD.rtmr1.hex()]
    assert lines[lines.index("  rtmr1: differs") + 2].split() == ["wanted", OTHER]


def test_what_is_no_quote_is_malformed(attestd: Run, files: Files) -> None:
    assert attestd("diff", files.put("x", b"x"), "--policy", policy(files))[0] == 2


def test_measured_registers_are_those_of_the_file(attestd: Run, files: Files) -> None:
    quote = files.put("other.bin", files.attester.quote(replace(TD, rtmr3=bytes(range(48)))))
    shown = attestd("diff", quote, "--policy", policy(files))[1]
    assert shown["measurements"]["rtmr3"] == bytes(range(48)).hex()
