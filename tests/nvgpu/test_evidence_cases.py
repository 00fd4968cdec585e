"""Every case of a single device in the evidence through the library: refused or not, and every value expected of it."""

from typing import Any, Final

import pytest

from attestd.claims import GpuClaims, export_gpu
from attestd.errors import AttestdError, Reason, Unavailable
from attestd.nvgpu.device import authenticate_device
from attestd.nvgpu.golden import Rims, compare, rim_ids
from attestd.nvgpu.rim import authenticate_rim
from attestd.nvgpu.spdm import parse_report
from attestd.nvgpu.verify import Revocations, require_nonce, verify
from tests.evidence import NVIDIA_CASES, NvidiaCase, nvidia_anchors, nvidia_case, nvidia_cases

# Which reasons say what a failed check of the evidence says.
FAILURES: Final[dict[str, set[Reason]]] = {
    "report_parse": {Reason.GPU_REPORT_SIZE, Reason.GPU_MEASUREMENT_RECORD},
    "report_signature": {Reason.GPU_REPORT_SIGNATURE},
    "nonce": {Reason.GPU_NONCE},
    "device_chain": {Reason.GPU_DEVICE_CHAIN, Reason.GPU_UNTRUSTED_ROOT},
    "fwid": {Reason.GPU_FWID},
    "driver_rim": {
        Reason.GPU_RIM_MALFORMED,
        Reason.GPU_RIM_DIGEST,
        Reason.GPU_RIM_SIGNATURE,
        Reason.GPU_RIM_UNTRUSTED_ROOT,
        Reason.GPU_RIM_EXPIRED,
        Reason.GPU_RIM_NOT_YET_VALID,
        Reason.GPU_RIM_MISMATCH,
    },
    "vbios_rim": {
        Reason.GPU_RIM_DIGEST,
        Reason.GPU_RIM_EXPIRED,
        Reason.GPU_RIM_NOT_YET_VALID,
        Reason.GPU_RIM_MISMATCH,
    },
    "index_conflict": {Reason.GPU_RIM_CONFLICT},
    "measurements": {Reason.GPU_MEASUREMENTS},
}
# Where several checks of the evidence fail, or one can fail in several ways: the one reason that is right.
EXACTLY: Final = {
    "h100-535.86.09-vbios-mismatch-signed": Reason.GPU_MEASUREMENTS,
    "h100-545.00-chain-missing-intermediate": Reason.GPU_DEVICE_CHAIN,
    "h100-545.00-der-signature": Reason.GPU_REPORT_SIZE,
    "h100-545.00-driver-rim-as-vbios": Reason.GPU_RIM_MISMATCH,
    "h100-545.00-driver-rim-deactivated": Reason.GPU_RIM_DIGEST,
    "h100-545.00-driver-rim-forged-chain": Reason.GPU_RIM_UNTRUSTED_ROOT,
    "h100-545.00-duplicate-index": Reason.GPU_MEASUREMENT_RECORD,
    "h100-545.00-fake-device-root": Reason.GPU_UNTRUSTED_ROOT,
    "h100-545.00-measurement-bitflip": Reason.GPU_REPORT_SIGNATURE,
    "h100-545.00-nonce-mismatch": Reason.GPU_NONCE,
    "h100-545.00-opaque-overflow": Reason.GPU_REPORT_SIZE,
    "h100-545.00-rim-doctype": Reason.GPU_RIM_MALFORMED,
    "h100-545.00-rim-expired": Reason.GPU_RIM_EXPIRED,
    "h100-545.00-rim-not-yet-valid": Reason.GPU_RIM_NOT_YET_VALID,
    "h100-545.00-signature-bitflip": Reason.GPU_REPORT_SIGNATURE,
    "h100-545.00-trailing-byte": Reason.GPU_REPORT_SIZE,
    "h100-545.00-truncated": Reason.GPU_REPORT_SIZE,
    "h100-545.00-wrong-vbios-rim": Reason.GPU_RIM_MISMATCH,
    "h100-550.90.07-chain-root-only": Reason.GPU_DEVICE_CHAIN,
    "h100-550.90.07-driver-rim-other-version": Reason.GPU_RIM_MISMATCH,
    "h100-550.90.07-other-gpu-chain": Reason.GPU_REPORT_SIGNATURE,
    "h100-560.00-invalid-signature": Reason.GPU_REPORT_SIGNATURE,
    "h100-570.124.03-driver-rim-expired": Reason.GPU_RIM_EXPIRED,
    "h100-580.159.03-vbios-rim-only": Reason.GPU_MEASUREMENTS,
    "h100-580.95.05-trailing-byte": Reason.GPU_REPORT_SIZE,
    "ls10-invalid-signature": Reason.GPU_REPORT_SIGNATURE,
    "ls10-rim-measurement-tampered": Reason.GPU_RIM_DIGEST,
}


def cases_with(verdict: str) -> list[Any]:
    """Select by what is expected; where the evidence is absent its skip stays."""
    return [
        case
        for case in nvidia_cases()
        if case.values[0] is None or case.values[0].document["expect"]["verdict"] == verdict
    ]


def rims_of(case: NvidiaCase) -> Rims:
    """Authenticate the RIMs that came."""
    raw = (case.driver_rim, case.vbios_rim)
    return Rims(*(None if one is None else authenticate_rim(one, nvidia_anchors(), case.at) for one in raw))


def verified_case(case: NvidiaCase) -> GpuClaims:
    """Verify a case from its bytes; revocation is not covered by the evidence."""
    report = parse_report(case.report)
    device = authenticate_device(case.certificates, nvidia_anchors(), case.at)
    claims = verify(report, device, rims_of(case), Revocations(), case.at)
    require_nonce(claims, bytes.fromhex(case.document["nonce"]))
    return claims


def test_no_case_is_left_out() -> None:
    cases = nvidia_cases()
    if cases[0].values[0] is None:
        pytest.skip("no evidence")
    assert len(cases) == NVIDIA_CASES
    assert sum(len(cases_with(verdict)) for verdict in ("accept", "reject", "incomplete")) == NVIDIA_CASES
    assert {case.id for case in cases_with("reject")} == EXACTLY.keys()


@pytest.mark.parametrize("case", cases_with("reject"))
def test_refusal(case: NvidiaCase) -> None:
    with pytest.raises(AttestdError) as caught:
        verified_case(case)
    assert caught.value.reason is EXACTLY[case.folder.name]
    failed = case.document["expect"]["failed_checks"]
    assert caught.value.reason in set[Reason]().union(*(FAILURES[check] for check in failed))


@pytest.mark.parametrize("case", cases_with("incomplete"))
def test_missing_rims_are_named(case: NvidiaCase) -> None:
    with pytest.raises(Unavailable) as caught:
        verified_case(case)
    assert caught.value.reason is Reason.GPU_RIM_MISSING
    said = case.document["report"]
    assert caught.value.wanted == f"{said['driver_rim_id']}, {said['vbios_rim_id']}"


@pytest.mark.parametrize("case", cases_with("accept"))
def test_acceptance(case: NvidiaCase) -> None:
    document = case.document
    claims = verified_case(case)
    assert claims.arch == document["arch"]
    assert claims.fwid == {True: "match", "absent": "absent"}[document["expect"]["checks"]["fwid"]]
    assert len(claims.compared) == document["expect"]["golden_compared"]
    assert list(claims.skipped) == document["expect"]["skipped_indices_0based"]
    assert (claims.driver_rim is None) is (document["driver_rim"] is None)
    assert claims.vbios_rim.chain.validity.not_after.isoformat() == document["vbios_rim"]["exp"]
    assert claims.validity.not_before <= case.at <= claims.validity.not_after


def test_claims_are_those_of_nvidia_s_verifier() -> None:
    """By name and value, but for what it says without having verified it, and for OCSP, which nobody answers here."""
    case = nvidia_case("h100-545.00-complete")
    theirs = case.document["peer"]["claims_v3"]
    ours: dict[str, Any] = export_gpu(verified_case(case), nonce=bytes.fromhex(case.document["nonce"]))
    unverified = {"secboot", "dbgstat", "iss"} | {name for name in theirs if name.endswith("-schema-validated")}
    assert theirs.keys() - ours.keys() == unverified
    different = {name for name in theirs.keys() & ours.keys() if simple(ours[name]) != simple(theirs[name])}
    # The report has no FWID: they call that a match.
    assert different == {"x-nvidia-gpu-attestation-report-cert-chain-fwid-match"}


def simple(value: Any) -> Any:
    """Leave out of a chain what OCSP says, and how a time is written."""
    if not isinstance(value, dict):
        return value
    return value["x-nvidia-cert-status"], value["x-nvidia-cert-expiration-date"].removesuffix("Z")


def cases_without(*failures: str) -> list[Any]:
    """Select those in which no check of these fails."""
    return [
        case
        for case in nvidia_cases()
        if case.values[0] is None or not {*failures} & {*case.values[0].document["expect"]["failed_checks"]}
    ]


@pytest.mark.parametrize("case", cases_without("report_parse"))
def test_fields(case: NvidiaCase) -> None:
    document, said = case.document, case.document["report"]
    report = parse_report(case.report)
    opaque = report.opaque
    assert len(case.report) == said["length"]
    assert report.nonce.hex() == said["request_nonce"]
    assert len(report.measurements) == said["measurement_blocks"]
    assert report.is_switch is (document["kind"] == "nvswitch")
    assert (opaque.driver_version, opaque.vbios_version) == (said["driver_version"], said["vbios_version"])
    assert (opaque.project, opaque.project_sku, opaque.chip_sku) == (
        said["project"],
        said["project_sku"],
        said["chip_sku"],
    )
    assert (None if opaque.fwid is None else opaque.fwid.hex()) == said["fwid"]
    assert opaque.opaque_version == said["opaque_data_version"]
    statuses = {None: None, "55": False, "aa": True}
    assert opaque.nvdec0_status is statuses[said["nvdec0_status"]]
    assert opaque.protected_pcie_status is statuses[said["protected_pcie_status"]]
    assert opaque.unknown_types == ()


@pytest.mark.parametrize("case", cases_without("report_parse", "device_chain"))
def test_names_of_rims(case: NvidiaCase) -> None:
    said = case.document["report"]
    device = authenticate_device(case.certificates, nvidia_anchors(), case.at)
    ids = rim_ids(parse_report(case.report), device)
    assert (ids.driver, ids.vbios) == (said.get("driver_rim_id"), said["vbios_rim_id"])


@pytest.mark.parametrize(
    "name",
    [
        "h100-535.86.09-vbios-mismatch-signed",
        "h100-545.00-complete",
        "h100-545.00-measurement-bitflip",
        "h100-545.00-wrong-vbios-rim",
        "h100-550.90.07-driver-rim-other-version",
        "h100-580.159.03-vbios-rim-only",
        "ls10-96.10.55.00.01-complete",
        "ls10-invalid-signature",
    ],
)
def test_mismatches(name: str) -> None:
    """The comparison alone, also where something else is refused before it."""
    case = nvidia_case(name)
    comparison = compare(parse_report(case.report), rims_of(case))
    expected = case.document["expect"]
    assert [one.index for one in comparison.mismatches] == expected["mismatched_indices_0based"]
    assert len(comparison.compared) == expected["golden_compared"]
