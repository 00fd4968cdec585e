"""Every GPU of the evidence before NVIDIA's nv-local-gpu-verifier 2.7.3, in an environment of its own.

ATTESTD_NVIDIA_PEER names its Python. It has pins of its own, so it cannot live beside attestd, nor beside other peers.
Both say the same, but for the differences below, each of which has its reason. NVSwitches are not for that verifier.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from attestd.errors import AttestdError, Unavailable
from tests import peers
from tests.evidence import NvidiaCase, nvidia_cases
from tests.nvgpu.test_evidence_cases import verified_case

# case: attestd's verdict, the peer's
DIFFERENCES: Final = {
    # A document type declaration with an entity in front of a RIM: the peer does not resolve the entity, and goes on.
    "h100-545.00-rim-doctype": ("refused", "verified"),
    # The peer fetches a RIM that is not there before it looks at what is: a measurement that the RIM at hand refuses,
    "h100-535.86.09-vbios-mismatch-signed": ("refused", "missing NV_GPU_DRIVER_GH100_535.86.09"),
    "h100-580.159.03-vbios-rim-only": ("refused", "missing NV_GPU_DRIVER_GH100_580.159.03"),
    # or a RIM of another driver.
    "h100-550.90.07-driver-rim-other-version": ("refused", "missing NV_GPU_VBIOS_1010_0200_882_96009F0001"),
    # Early Blackwell firmware does not name its chip; the peer then writes Python's empty byte string into the id.
    "gb100-575.32-device-only": ("missing NV_GPU_CC_DRIVER_GB100_575.32", "missing NV_GPU_CC_DRIVER_b''_575.32"),
}


def gpu_cases() -> list[NvidiaCase]:
    cases = [case.values[0] for case in nvidia_cases()]
    if cases[0] is None:
        pytest.skip("no evidence: the peer was not asked")
    return [case for case in cases if case.document["kind"] == "gpu"]


def verdict(case: NvidiaCase) -> str:
    try:
        verified_case(case)
    except Unavailable as error:
        return f"missing {error.wanted.split(', ')[0]}"
    except AttestdError:
        return "refused"
    return "verified"


def task(case: NvidiaCase) -> dict[str, Any]:
    document, said = case.document, case.document.get("report", {})
    rims = {"driver_rim": case.driver_rim, "vbios_rim": case.vbios_rim}
    return {
        "arch": document["arch"],
        "nonce": document["nonce"],
        "at": case.at.isoformat(),
        "report": case.report.hex(),
        "certificates": case.read("certs.pem").hex(),
        # What the driver would say; of reports that do not parse nobody gets that far.
        "driver_version": said.get("driver_version") or "",
        "vbios_version": said.get("vbios_version") or "",
        **{kind: None if raw is None else raw.hex() for kind, raw in rims.items()},
    }


def peer_verdicts(cases: Sequence[NvidiaCase]) -> list[str]:
    tasks = "".join(json.dumps(task(case)) + "\n" for case in cases)
    return peers.said(peers.NVIDIA, Path(__file__).with_name("peer_verdicts.py"), tasks).splitlines()


def test_same_verdicts() -> None:
    cases = gpu_cases()
    theirs = {case.folder.name: said for case, said in zip(cases, peer_verdicts(cases), strict=True)}
    ours = {case.folder.name: verdict(case) for case in cases}
    different = {name: (ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]}
    assert different == DIFFERENCES
    assert {said.split()[0] for said in theirs.values()} == {"verified", "refused", "missing"}
    # As it was recorded with the evidence.
    recorded = {case.folder.name for case in cases if case.document["peer"]["overall"]}
    assert {name for name, said in theirs.items() if said == "verified"} == recorded
