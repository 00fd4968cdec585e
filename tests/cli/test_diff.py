from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from attestd.simulator import KeyPair, SgxReport, TdReport
from tests.cli.conftest import Files
from tests.policy import factory

Run = Callable[..., tuple[int, Any]]
Terminal = Callable[..., tuple[int, str]]

TD = TdReport()
OTHER = "ab" * 48


REGISTERS = {
    "tdx": ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mrconfigid", "mrowner", "mrownerconfig"),
    "sgx": ("mrenclave", "mrsigner", "isvprodid", "min_isvsvn"),
}


def image(name: str, *, tee: str = "tdx", not_after: str = "'any'", **pins: str | int) -> str:
    registers: dict[str, str | int] = {} if "image_digest" in pins else dict.fromkeys(REGISTERS[tee], "any")
    fields = {"name": name, "role": "worker", **registers, **pins}
    listed = ", ".join(f"{name} = {value!r}" for name, value in fields.items())
    return f"{{{listed}, not_after = {not_after}}}"


def policy(files: Files, tee: str = "tdx", *images: str) -> object:
    sections = factory.TDX if tee == "tdx" else factory.SGX
    listed = "[" + ", ".join(images) + "]" if images else '"any"'
    text = factory.text(sections, {f"{tee}.images": listed})
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


def test_any_image(attestd: Run, on_terminal: Terminal, files: Files) -> None:
    status, shown = attestd("diff", files.quote, "--policy", policy(files))
    assert (status, shown["accepted"], shown["images"]) == (0, True, None)
    assert "any image" in on_terminal("diff", files.quote, "--policy", policy(files))[1]


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
