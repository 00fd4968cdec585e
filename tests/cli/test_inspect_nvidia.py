"""What `attestd inspect` shows of NVIDIA's: reports, chains, lists of devices, RIMs and OCSP answers."""

import json
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from attestd.codec import dump_digest
from attestd.nvgpu.spdm import parse_report
from attestd.simulator import GpuAttester, NvidiaVendor, SpdmReport, flip, gpu_set, pem
from attestd.simulator.gpu import B200, H100, NVSWITCH
from attestd.simulator.nvidia_fixtures import bundle
from tests.cli.conftest import Files
from tests.evidence import EVIDENCE, NvidiaCase, nvidia_case, nvidia_cases

Run = Callable[..., tuple[int, Any]]
Terminal = Callable[..., tuple[int, str]]

HOPPER = GpuAttester.of(NvidiaVendor.of())
BLACKWELL = GpuAttester.of(NvidiaVendor.of("BLACKWELL"), B200)
SWITCH = GpuAttester.of(NvidiaVendor.of("LS10"), NVSWITCH)


@pytest.mark.parametrize("gpu", [HOPPER, BLACKWELL, SWITCH], ids=["Hopper", "Blackwell", "LS10"])
def test_report(attestd: Run, files: Files, gpu: GpuAttester) -> None:
    raw = gpu.report()
    report = parse_report(raw)
    status, shown = attestd("inspect", files.put("report.bin", raw))
    assert (status, shown["verified"], shown["kind"], shown["tee"]) == (0, False, "gpu_report", "nvidia")
    assert shown["device"] == ("nvswitch" if gpu is SWITCH else "gpu")
    assert shown["evidence_id"] == dump_digest(report.evidence_id)
    assert (shown["nonce"], shown["nonce_is_published"]) == (SpdmReport().nonce.hex(), False)
    assert shown["opaque"]["vbios_version"] == gpu.gpu.vbios_version
    assert [row["value"] for row in shown["measurements"]] == [value.hex() for value in report.measurements]
    assert [row["index"] for row in shown["measurements"]] == list(range(len(report.measurements)))


@pytest.mark.parametrize("gpu", [HOPPER, BLACKWELL, SWITCH], ids=["Hopper", "Blackwell", "LS10"])
def test_chain(attestd: Run, files: Files, gpu: GpuAttester) -> None:
    shown = attestd("inspect", files.put("certs.pem", gpu.certificates))[1]
    assert (shown["kind"], shown["tee"], shown["verified"]) == ("certificates", "nvidia", False)
    roles = ["attestation_key", "boot_rom", "provisioner", "identity", "device_root"]
    assert [one["role"] for one in shown["certificates"]] == roles
    assert [one.get("pinned") for one in shown["certificates"]] == [None] * 4 + [False]
    assert (shown["device"]["arch"], shown["device"]["pdi"]) == (gpu.gpu.arch, gpu.gpu.pdi.hex())
    assert shown["device"]["fwid"] == gpu.gpu.fwid.hex()


def test_broken_and_incomplete_chains(attestd: Run, files: Files) -> None:
    leaf, *rest = HOPPER.chain
    shown = attestd("inspect", files.put("certs.pem", pem(flip(-1)(leaf), *rest)))[1]
    assert shown["device"]["reason"] == "gpu.device_chain"
    assert shown["certificates"][1]["role"] == "boot_rom"
    shown = attestd("inspect", files.put("certs.pem", pem(leaf, b"\x30\x00")))[1]
    assert (shown["device"], shown["certificates"][1]["reason"]) == (None, "der.malformed")
    shown = attestd("inspect", files.put("leaf.der", leaf))[1]
    assert [one["role"] for one in shown["certificates"]] == ["attestation_key"]
    shown = attestd("inspect", files.put("certs.pem", pem(*HOPPER.chain[:4], leaf)))[1]
    assert shown["device"]["reason"] == "anchor.unpinned"


def test_list_of_devices(attestd: Run, on_terminal: Terminal, files: Files) -> None:
    gpus = gpu_set(2, H100)
    nonce = SpdmReport().nonce
    path = files.put("evidence.json", bundle(tuple(gpu.answer(nonce) for gpu in gpus)))
    shown = attestd("inspect", path)[1]
    assert (shown["kind"], [one["arch"] for one in shown["devices"]]) == ("gpu_evidence", ["HOPPER"] * 2)
    assert [one["chain"]["device"]["pdi"] for one in shown["devices"]] == [gpu.gpu.pdi.hex() for gpu in gpus]
    assert {one["report"]["nonce"] for one in shown["devices"]} == {nonce.hex()}
    status, text = on_terminal("inspect", path)
    assert (status, text.splitlines()[0].startswith("unverified")) == (0, True)
    for title in ("devices[0]:", "devices[1].report.opaque:", "devices[1].chain.certificates[0]:"):
        assert f"\n{title}\n" in text


@pytest.mark.parametrize("kind", ["driver", "vbios"])
def test_rim(attestd: Run, files: Files, kind: Any) -> None:
    raw = HOPPER.rim(kind)
    rim_id = HOPPER.gpu.rim_id(kind)
    envelope = {"id": rim_id, "rim": b64encode(raw).decode(), "sha256": sha256(raw).hexdigest(), "rim_format": "TCG"}
    for path in (files.put("rim.swidtag", raw), files.put("rim.json", json.dumps(envelope).encode())):
        status, shown = attestd("inspect", path)
        assert (status, shown["verified"], shown["kind"], shown["firmware"]) == (0, False, "rim", kind)
        assert shown["sha256"] == sha256(raw).hexdigest()
        assert shown["version"] in (HOPPER.gpu.driver_version, HOPPER.gpu.vbios_version)
        roles = ["rim_signer", "rim_l3", "rim_ca", "rim_root"]
        assert [one["role"] for one in shown["certificates"]] == roles
        assert {len(value) for row in shown["golden"] for value in row["values"]} == {96}


def test_rims_that_are_broken_are_not_read_further(attestd: Run, files: Files) -> None:
    raw = HOPPER.rim("vbios")
    version = str(HOPPER.gpu.vbios_version).encode()
    shown = attestd("inspect", files.put("rim.swidtag", raw.replace(version, b"96.00.00.00.00")))[1]
    assert (shown["reason"], "golden" in shown) == ("gpu.rim_digest", False)
    assert len(shown["certificates"]) == 4
    shown = attestd("inspect", files.put("rim.swidtag", b"<SoftwareIdentity/>"))[1]
    assert (shown["reason"], shown["certificates"]) == ("gpu.rim_malformed", [])


@pytest.mark.parametrize("state", ["good", "hold", "revoked", "unknown"])
def test_ocsp_answer(attestd: Run, files: Files, state: Any) -> None:
    raw = HOPPER.ocsp("brom", state)
    status, shown = attestd("inspect", files.put("brom.ocsp", raw))
    assert (status, shown["verified"], shown["kind"]) == (0, False, "ocsp")
    assert shown["status"] == {"good": "good", "unknown": "unknown"}.get(state, "revoked")
    assert shown["serial_number"] == f"{HOPPER.brom.serial_number:x}"
    assert (shown["reason"] == "certificateHold") is (state == "hold")
    assert (shown["revoked_at"] is None) is (state in ("good", "unknown"))
    assert shown["sha256"] == sha256(raw).hexdigest()


@pytest.mark.parametrize("case", nvidia_cases())
def test_genuine(case: NvidiaCase, attestd: Run) -> None:
    """Whatever does not parse is refused as it is by `verify`; all the rest is shown."""
    document = case.document
    status, shown = attestd("inspect", case.folder / "report.bin")
    if "report_parse" in document["expect"]["failed_checks"]:
        assert status == 2
    else:
        assert shown["nonce"] == document["report"]["request_nonce"]
    status, shown = attestd("inspect", case.folder / "certs.pem")
    assert (status, shown["kind"]) == (0, "certificates")
    if "device_chain" not in document["expect"]["failed_checks"]:
        assert shown["device"]["hwmodel"] == document["device"]["hwmodel"]


def test_genuine_rims(attestd: Run) -> None:
    case = nvidia_case("h100-545.00-complete")
    for path in (*sorted((EVIDENCE / "nvidia/rims").glob("*.swidtag")), case.folder / "driver_rim.swidtag"):
        shown = attestd("inspect", Path(path))[1]
        assert (shown["product"], shown["certificates"][-1]["pinned"]) == ("GH100", True)
