"""The verifier says of each fixture of NVIDIA's what it was made to say."""

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from attestd.claims import GpuClaims, RevocationState
from attestd.codec import load_pem, load_time
from attestd.errors import NotAuthentic
from attestd.nvgpu.device import authenticate_device
from attestd.nvgpu.golden import Rims
from attestd.nvgpu.ocsp import authenticate_revocation
from attestd.nvgpu.rim import Rim, authenticate_rim
from attestd.nvgpu.spdm import parse_report
from attestd.nvgpu.verify import Revocations, verify
from attestd.simulator import NvidiaVendor
from attestd.x509 import Certificate, TrustAnchors
from tests.evidence import ROOT

FIXTURES = ROOT / "fixtures"
CASES = sorted(path.name for path in (FIXTURES / "nvidia").iterdir())


def root_of(folder: Path, described: dict[str, Any], name: str) -> TrustAnchors:
    return TrustAnchors.load([(folder / described[name].split("(")[1].rstrip(")")).resolve().read_bytes()])


def sent(folder: Path) -> list[tuple[bytes, list[bytes]]]:
    """Return the reports with their certificates, of one device or of several."""
    if (folder / "report.bin").exists():
        pairs = [((folder / "report.bin").read_bytes(), (folder / "certs.pem").read_bytes())]
    else:
        entries = json.loads((folder / "evidence.json").read_bytes())
        pairs = [(b64decode(entry["evidence"]), b64decode(entry["certificate"])) for entry in entries]
    return [(report, list(load_pem(certificates))) for report, certificates in pairs]


def verified(folder: Path, described: dict[str, Any]) -> list[GpuClaims]:
    at = load_time(described["verification_time_iso"])
    devices, signers = (root_of(folder, described, name) for name in ("trust_root", "rim_trust_root"))
    endorsements = folder / "endorsements"
    answers = [path.read_bytes() for path in sorted(endorsements.glob("*.ocsp"))]
    rims = {
        rim_id: authenticate_rim((endorsements / f"{rim_id}.swidtag").read_bytes(), signers, at)
        for rim_id in described["rims"]
    }
    at_hand = Rims(
        driver=next((rim for rim in rims.values() if rim.kind == "driver"), None),
        vbios=next(rim for rim in rims.values() if rim.kind != "driver"),
    )

    def looked_up(chain: tuple[Certificate, ...]) -> Any:
        return authenticate_revocation(chain, answers, at)

    def of_rim(rim: Rim | None) -> Any:
        return looked_up(rim.chain) if rim else Revocations().driver_rim

    claims = []
    for report, ders in sent(folder):
        device = authenticate_device(ders, devices, at)
        revocations = Revocations(looked_up(device.chain[1:]), of_rim(at_hand.driver), of_rim(at_hand.vbios))
        claims.append(verify(parse_report(report), device, at_hand, revocations, at))
    return claims


@pytest.mark.parametrize("case", CASES)
def test_each_verifies_as_expected(case: str) -> None:
    folder = FIXTURES / "nvidia" / case
    described = json.loads((folder / "expected.json").read_bytes())
    expected = described["expected"]
    if expected["reason"]:
        with pytest.raises(NotAuthentic) as refusal:
            verified(folder, described)
        assert refusal.value.reason == expected["reason"]
        if expected["mismatches"]:
            shown = (refusal.value.found or "").split(", ")
            assert [int(one.split(":")[0]) for one in shown] == expected["mismatches"]
        return
    claims = verified(folder, described)
    assert len(claims) == len(described["devices"])
    for one, device in zip(claims, described["devices"], strict=True):
        assert (one.arch, one.nonce.hex()) == (described["arch"], described["nonce"])
        assert (one.pdi.hex(), one.opaque.driver_version) == (device["pdi"], device["driver_version"])
        assert one.opaque.vbios_version == device["vbios_version"]
        assert one.opaque.fwid is None or one.opaque.fwid.hex() == device["fwid"]
        rims = [rim for rim in (one.driver_rim, one.vbios_rim) if rim]
        assert [rim.id for rim in rims] == described["rims"]
        worst = {RevocationState.GOOD, RevocationState(expected["ocsp"])}
        assert {*one.chain.revocation, *(state for rim in rims for state in rim.chain.revocation)} == worst


def test_the_roots_of_nvidia_are_the_vendors() -> None:
    vendor = NvidiaVendor.of()
    assert (FIXTURES / "roots/simulated_nvidia_device_root.der").read_bytes() == vendor.root.der
    assert (FIXTURES / "roots/simulated_nvidia_rim_root.der").read_bytes() == vendor.rim_root.der
