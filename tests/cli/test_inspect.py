import json
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha512
from typing import Any

import pytest

from attestd.claims import PckCa
from attestd.endorsements import write_bundle
from attestd.evidence import IntelTee
from attestd.simulator import (
    DSTACK_BOOT,
    Attester,
    Framing,
    KeyPair,
    Platform,
    SgxReport,
    TdReport,
    TdReport15,
    ccel,
    dstack_log,
    pem,
    replay,
)
from attestd.simulator.reports import Body
from tests.cli.conftest import Files

Run = Callable[..., tuple[int, Any]]
Terminal = Callable[..., tuple[int, str]]


@pytest.mark.parametrize(
    ("body", "tee", "version"), [(TdReport(), "tdx", 4), (TdReport15(), "tdx", 5), (SgxReport(), "sgx", 3)]
)
def test_quote(attestd: Run, files: Files, body: Any, tee: str, version: int) -> None:
    status, shown = attestd("inspect", files.put("quote", files.attester.quote(body)))
    assert status == 0
    assert (shown["verified"], shown["kind"]) == (False, "quote")
    assert (shown["tee"], shown["version"]) == (tee, version)
    assert shown["body"]["report_data"] == body.report_data.hex()
    assert len(bytes.fromhex(shown["image_digest"])) == 32
    platform = files.attester.platform
    assert (shown["pck"]["fmspc"], shown["pck"]["ppid"]) == (platform.fmspc.hex(), platform.ppid.hex())


def test_image_digest_is_the_verified_one(attestd: Run, files: Files) -> None:
    bodies: dict[IntelTee, Body] = {"tdx": TdReport(), "sgx": SgxReport()}
    for tee, body in bodies.items():
        quote = files.put("quote", files.attester.quote(body))
        write_bundle(files.collateral, files.vendor.collateral(tee))
        _, verified = attestd(*files.verify(quote, tee))
        assert attestd("inspect", quote)[1]["image_digest"] == verified["claims"]["image_digest"]


def test_forged_quote_is_shown_all_the_same(attestd: Run, files: Files) -> None:
    forged = files.attester.quote(framing=Framing(auth_data=b"forged"))
    status, shown = attestd("inspect", files.put("forged", forged[:700] + bytes(10) + forged[710:]))
    assert (status, shown["verified"]) == (0, False)


def test_platform_of_the_other_ca(attestd: Run, files: Files) -> None:
    attester = Attester.of(files.vendor, Platform(ca=PckCa.PROCESSOR))
    _, shown = attestd("inspect", files.put("quote", attester.quote()))
    assert (shown["pck"]["pck_ca"], shown["pck"]["platform_instance_id"]) == ("processor", None)


@pytest.mark.parametrize(
    ("framing", "reason"),
    [
        (Framing(cert_type=3, cert_data=bytes(400)), "tdx.certification_data"),
        (Framing(cert_data=b"hello"), "pem.malformed"),
    ],
)
def test_platform_that_cannot_be_read_is_no_obstacle(attestd: Run, files: Files, framing: Framing, reason: str) -> None:
    status, shown = attestd("inspect", files.put("quote", files.attester.quote(framing=framing)))
    assert (status, shown["pck"]["reason"]) == (0, reason)
    assert shown["body"]["mrtd"] == TdReport().mrtd.hex()


@pytest.mark.parametrize("encode", [bytes, pem])
def test_ra_tls_certificate(attestd: Run, files: Files, encode: Callable[[bytes], bytes]) -> None:
    key = KeyPair.ed25519("enclave")
    status, shown = attestd("inspect", files.put("cert", encode(files.attester.cocoon_certificate(key))))
    assert status == 0
    assert (shown["kind"], shown["key"]) == ("ra_tls_certificate", key.raw.hex())
    assert shown["report_data_is_of_the_key"]
    assert shown["quote"]["body"]["report_data"] == sha512(key.raw).hexdigest()


def test_event_logs(attestd: Run, files: Files) -> None:
    runtime_events = {"ccel": set(), "dstack": {"app-id", "compose-hash", "instance-id"}}
    for log, name in ((ccel(DSTACK_BOOT), "ccel"), (dstack_log(), "dstack")):
        status, shown = attestd("inspect", files.put("log", log))
        assert (status, shown["kind"], shown["format"]) == (0, "event_log", name)
        assert list(shown["replayed"].values()) == [register.hex() for register in replay(DSTACK_BOOT)]
        assert {event["event"] for event in shown["runtime_events"]} >= runtime_events[name]


def test_signed_documents(attestd: Run, on_terminal: Terminal, files: Files) -> None:
    for kind, member in (("tcb_info", "tcbInfo"), ("qe_identity", "enclaveIdentity")):
        file = files.collateral / f"{kind}.json"
        status, shown = attestd("inspect", file)
        assert (status, shown["kind"]) == (0, kind)
        assert shown["content"] == json.loads(file.read_bytes())[member]
        status, text = on_terminal("inspect", file)
        assert "tcbEvaluationDataNumber" in text
        assert "UpToDate" in text
        assert "{" not in text


@pytest.mark.parametrize(
    ("raw", "status", "reason"),
    [
        (b"", 2, "tdx.quote_truncated"),
        (b"hello world", 2, "tdx.quote_truncated"),
        (b"{}", 2, "json.schema"),
        (b'{"tcbInfo": [], "signature": ""}', 2, "json.schema"),
        (b'{"tcbInfo": {', 2, "json.malformed"),
        (b"[]", 0, None),
        (b"[1]", 2, "event_log.malformed"),
        (b"\x30\x82" + bytes(100), 2, "binding.certificate"),
        (b"-----BEGIN CERTIFICATE-----\n", 2, "pem.malformed"),
        (bytes(1024 * 1024 + 1), 2, "evidence.size"),
    ],
)
def test_what_does_not_parse_is_malformed(
    attestd: Run, files: Files, raw: bytes, status: int, reason: str | None
) -> None:
    got, shown = attestd("inspect", files.put("file", raw))
    assert got == status
    assert reason is None or f"[{reason}]" in shown


@pytest.mark.parametrize(
    "levels", ["null", "1", '"x"', "[1, {}]", '[{"tcb": {"sgxtcbcomponents": [{"svn": 1}, 2]}}]', "{}"]
)
def test_any_shape_of_a_document_can_be_shown(on_terminal: Terminal, files: Files, levels: str) -> None:
    document = f'{{"tcbInfo": {{"tcbLevels": {levels}, "tdxModuleIdentities": [{{"tcbLevels": {levels}}}, 1]}}}}'
    assert on_terminal("inspect", files.put("tcb_info.json", document.encode()))[0] == 0


def test_a_file_cannot_draw_on_the_terminal(on_terminal: Terminal, files: Files) -> None:
    events = (replace(DSTACK_BOOT[-1], name="\x1b[2J\r\n verified \u202e\u2028"),)
    _, shown = on_terminal("inspect", files.put("log", dstack_log(events)))
    assert "verified " in shown
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "\n verified" not in shown


def test_terminal_says_first_that_nothing_was_verified(on_terminal: Terminal, files: Files) -> None:
    status, shown = on_terminal("inspect", files.quote)
    assert status == 0
    assert shown.startswith("unverified: nothing was verified")
    assert TdReport().mrtd.hex() in shown


def test_sgx_extension_that_is_wrong_is_named(attestd: Run, files: Files) -> None:
    attester = Attester.of(files.vendor, Platform(sgx_extension=b"\x30\x00"))
    _, shown = attestd("inspect", files.put("quote", attester.quote()))
    assert shown["pck"]["reason"] == "tdx.pck_extension"
