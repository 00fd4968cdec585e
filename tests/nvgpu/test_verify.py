"""Reports against device, RIMs and OCSP answers (N01 to N26): everything else is right, and signed as it stands."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384

from attestd.claims import GpuArch, GpuMode, RevocationState, export_gpu
from attestd.errors import NotAuthentic, Reason, Unavailable
from attestd.nvgpu.device import authenticate_device
from attestd.nvgpu.golden import Rims, compare, rim_ids
from attestd.nvgpu.ocsp import authenticate_revocation
from attestd.nvgpu.spdm import parse_report
from attestd.nvgpu.verify import Revocations, require_nonce, verify
from attestd.simulator import (
    AT,
    B200,
    H100,
    ON,
    PPCIE,
    Golden,
    GpuAttester,
    NvidiaVendor,
    RimForm,
    Signing,
    SpdmReport,
    flip,
    measured,
    opaque_field,
    other_spdm_s,
    p384_key,
    put,
)
from attestd.simulator.keys import P384_ORDER
from attestd.simulator.spdm import CHIP_INFO, DRIVER_VERSION, FWID, NVDEC0_STATUS, VBIOS_VERSION
from attestd.validity import Validity
from tests.nvgpu.baseline import (
    ANCHORS,
    BLACKWELL,
    DEVICES,
    GPU,
    REPORT,
    SWITCH,
    VENDOR,
    answers,
    device_of,
    revocations_of,
    rim_of,
    rims_of,
    verified,
)
from tests.refusals import not_authentic, rejected

BASELINE = verified()
NONCE = SpdmReport().nonce
DAY = timedelta(days=1)


def edited(gpu: GpuAttester, edit: Callable[[RimForm], RimForm], kind: Any = "vbios") -> Rims:
    """Return the RIMs of a device, one of them with something else in it."""
    rims = rims_of(gpu)
    return rims._replace(**{kind: rim_of(gpu.rim(kind, edit))})


def altered(**fields: object) -> GpuAttester:
    """Return the device with a state of its firmware that is another one; its RIMs are those of that state."""
    return GpuAttester.of(VENDOR, replace(GPU.gpu, **fields))  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------------------------
# What is said


@pytest.mark.parametrize("gpu", DEVICES, ids=["Hopper", "Blackwell", "LS10"])
def test_baselines_are_accepted(gpu: GpuAttester) -> None:
    device, report, rims = device_of(gpu.chain), parse_report(gpu.report()), rims_of(gpu)
    claims = verified(gpu, revocations=revocations_of(gpu))
    assert claims[:6] == (
        *(device.arch, device.hwmodel, device.ueid),
        *(device.device_id, device.pdi, device.spdm_device_id),
    )
    assert (claims.tee, claims.nonce, claims.opaque) == ("nvidia", NONCE, report.opaque)
    assert claims.evidence_id == report.evidence_id
    assert claims.chain.revocation == claims.vbios_rim.chain.revocation == (RevocationState.GOOD,)
    assert claims.vbios_rim.id == gpu.gpu.rim_id("vbios")
    assert rims.vbios is not None
    assert claims.vbios_rim.sha256 == rims.vbios.sha256
    assert claims.vbios_rim.signed_from == rims.vbios.chain[0].validity.not_before
    assert claims.vbios_rim.chain.validity == rims.vbios.validity
    assert claims.chain.validity == device.validity
    if rims.driver is None:
        assert claims.driver_rim is None
    else:
        assert claims.driver_rim is not None
        assert claims.driver_rim.id == gpu.gpu.rim_id("driver")
        assert claims.driver_rim.sha256 == rims.driver.sha256


def test_what_is_compared() -> None:
    golden = {*range(7), *range(8, 13), 7, *range(21, 41)}
    assert (set(BASELINE.compared), BASELINE.skipped) == (golden - {35}, (35,))
    assert BASELINE.compared == tuple(sorted(BASELINE.compared))
    assert (verified(SWITCH).compared, verified(SWITCH).skipped) == (tuple(range(31)), ())


def test_validity_is_that_of_all_together() -> None:
    rims = rims_of()
    assert rims.driver is not None
    assert BASELINE.validity == rims.driver.validity
    answered = verified(revocations=revocations_of())
    # OCSP answers are of an hour ago and for a day, their responders' certificates longer.
    assert answered.validity == Validity(AT - timedelta(hours=1), AT + timedelta(hours=23))
    assert answered.chain.validity == BASELINE.chain.validity


def test_digests_of_all_that_was_used() -> None:
    rims = [sha256(GPU.rim(kind)).digest() for kind in GPU.rim_kinds]
    certificates = [sha256(one).digest() for one in GPU.chain[:4]]
    known = [sha256(answer).digest() for answer in answers()]
    assert BASELINE.endorsement_digests == (*certificates, *rims)
    found = verified(revocations=revocations_of()).endorsement_digests
    # Both RIMs have the same signer, so three answers are used twice.
    assert found == (*certificates, *rims, *known, *known[3:])


# ---------------------------------------------------------------------------------------------------------------------
# Signature


def test_n03_malleable_signature() -> None:
    raw = other_spdm_s(REPORT)
    assert raw != REPORT
    assert verified(raw=raw) == verified(raw=REPORT)


@pytest.mark.parametrize("value", [0, P384_ORDER, P384_ORDER + 1, 2**384 - 1])
def test_n03_integers_out_of_range(value: int) -> None:
    for offset in (-96, -48):
        with not_authentic(Reason.GPU_REPORT_SIGNATURE):
            verified(raw=put(offset % len(REPORT), value.to_bytes(48, "big"))(REPORT))


def test_signature_by_another_key_or_over_other_bytes() -> None:
    other = GpuAttester.of(VENDOR, GPU.gpu.numbered(1))
    for signing in (
        Signing(key=other.ak.key),
        Signing(key=GPU.brom.key),
        Signing(key=p384_key("tests", "mallory")),
        Signing(after=flip(4)),
        Signing(after=flip(400)),
    ):
        with not_authentic(Reason.GPU_REPORT_SIGNATURE):
            verified(raw=GPU.report(signing=signing))
    signed = REPORT[:-96]
    for over, digest in ((signed, SHA256()), (signed[37:], SHA384()), (signed[:37], SHA384()), (REPORT, SHA384())):
        r, s = decode_dss_signature(GPU.ak.key.sign(over, ECDSA(digest)))
        with not_authentic(Reason.GPU_REPORT_SIGNATURE):
            verified(raw=signed + r.to_bytes(48, "big") + s.to_bytes(48, "big"))


def test_n06_chain_of_another_device() -> None:
    other = GpuAttester.of(VENDOR, GPU.gpu.numbered(1))
    with not_authentic(Reason.GPU_REPORT_SIGNATURE):
        verified(other, REPORT)


# ---------------------------------------------------------------------------------------------------------------------
# Device


def test_device_outside_of_its_window() -> None:
    expiring = GpuAttester.of(VENDOR, GPU.gpu, lambda form: replace(form, not_after=AT))
    assert verified(expiring).validity.not_after == AT
    with not_authentic(Reason.GPU_DEVICE_EXPIRED):
        verified(expiring, at=AT + DAY)
    future = GpuAttester.of(VENDOR, GPU.gpu, lambda form: replace(form, not_before=AT))
    with not_authentic(Reason.GPU_DEVICE_NOT_YET_VALID):
        verified(future, at=AT - DAY)


def test_n26_report_of_another_kind_of_device() -> None:
    """Keys that sign another kind's report: each with its own certificates, all else as it should be."""
    with not_authentic(Reason.GPU_DEVICE_KIND):
        verified(SWITCH, GPU.report(signing=Signing(key=SWITCH.ak.key)))
    with not_authentic(Reason.GPU_DEVICE_KIND):
        verified(raw=SWITCH.report(signing=Signing(key=GPU.ak.key)))


def test_n08_fwid() -> None:
    for wrong in (flip(0)(GPU.gpu.fwid), flip(47)(GPU.gpu.fwid), bytes(48)):
        with not_authentic(Reason.GPU_FWID):
            verified(raw=GPU.report(SpdmReport(edit_opaque=opaque_field(FWID, wrong))))
    assert BASELINE.fwid == "match"


def test_fwid_that_is_absent_is_for_the_policy() -> None:
    assert verified(raw=GPU.report(SpdmReport(edit_opaque=opaque_field(FWID, None)))).fwid == "absent"


def test_n02_nonce() -> None:
    require_nonce(BASELINE, NONCE)
    for wrong in (flip(0)(NONCE), bytes(32), SpdmReport().responder_nonce, b""):
        with not_authentic(Reason.GPU_NONCE):
            require_nonce(BASELINE, wrong)
    other = GPU.report(SpdmReport(nonce=flip(31)(NONCE)))
    with not_authentic(Reason.GPU_NONCE):
        require_nonce(verified(raw=other), NONCE)
    # The device's own nonce is not the one that it was asked with.
    swapped = GPU.report(SpdmReport(nonce=SpdmReport().responder_nonce, responder_nonce=NONCE))
    with not_authentic(Reason.GPU_NONCE):
        require_nonce(verified(raw=swapped), NONCE)


# ---------------------------------------------------------------------------------------------------------------------
# Which RIMs


def test_names_of_rims() -> None:
    for gpu in DEVICES:
        ids = rim_ids(parse_report(gpu.report()), device_of(gpu.chain))
        assert ids.vbios == gpu.gpu.rim_id("vbios")
        assert ids.driver == (None if gpu is SWITCH else gpu.gpu.rim_id("driver"))
    named = GpuAttester.of(BLACKWELL.vendor, B200)
    report = named.report(SpdmReport(edit_opaque=opaque_field(CHIP_INFO, b"GB202\0")))
    assert rim_ids(parse_report(report), device_of(named.chain)).driver == "NV_GPU_CC_DRIVER_GB202_580.95.05"
    lower = altered(project="g520")
    assert rim_ids(parse_report(lower.report()), device_of(lower.chain)).vbios == GPU.gpu.rim_id("vbios")


def test_missing_rims_are_named() -> None:
    full = rims_of()
    driver, vbios = GPU.gpu.rim_id("driver"), GPU.gpu.rim_id("vbios")
    for rims, missing in (
        (Rims(), f"{driver}, {vbios}"),
        (full._replace(driver=None), driver),
        (full._replace(vbios=None), vbios),
    ):
        with pytest.raises(Unavailable) as caught:
            verified(rims=rims)
        assert (caught.value.reason, caught.value.wanted) == (Reason.GPU_RIM_MISSING, missing)
    with pytest.raises(Unavailable) as caught:
        verified(SWITCH, rims=Rims())
    assert caught.value.wanted == SWITCH.gpu.rim_id("vbios")


def test_what_is_wrong_comes_before_what_is_missing() -> None:
    """Nobody is asked to come again with a RIM where another one has refused the measurements."""
    with not_authentic(Reason.GPU_MEASUREMENTS):
        verified(raw=GPU.report(SpdmReport(edit_blocks=measured({9: bytes(48)}))), rims=rims_of()._replace(driver=None))


@pytest.mark.parametrize("kind", ["driver", "vbios"])
def test_n10_rim_of_another_version(kind: Any) -> None:
    other = "580.95.06" if kind == "driver" else "96.00.CF.00.02"
    with rejected(Reason.GPU_RIM_MISMATCH):
        verified(rims=edited(GPU, lambda form: replace(form, version=other), kind))


def test_n10_report_of_another_version() -> None:
    for kind, data in ((DRIVER_VERSION, b"580.95.06\0"), (VBIOS_VERSION, bytes.fromhex("00cf009602000000"))):
        with rejected(Reason.GPU_RIM_MISMATCH):
            verified(raw=GPU.report(SpdmReport(edit_opaque=opaque_field(kind, data))))


@pytest.mark.parametrize("kind", ["driver", "vbios"])
@pytest.mark.parametrize("product", ["GB100", "LS10", "GH200"])
def test_n10_rim_of_another_product(kind: Any, product: str) -> None:
    with rejected(Reason.GPU_RIM_MISMATCH):
        verified(rims=edited(GPU, lambda form: replace(form, product=product), kind))


def test_n10_rim_of_another_kind() -> None:
    rims = rims_of()
    for wrong in (Rims(rims.vbios, rims.vbios), Rims(rims.driver, rims.driver), Rims(rims.vbios, rims.driver)):
        with rejected(Reason.GPU_RIM_MISMATCH):
            verified(rims=wrong)
    with rejected(Reason.GPU_RIM_MISMATCH):  # for a switch, of the same version
        verified(rims=edited(GPU, lambda form: replace(form, edition="SWITCH")))
    with rejected(Reason.GPU_RIM_MISMATCH):
        verified(SWITCH, rims=rims_of(SWITCH)._replace(driver=rims.driver))


def test_chip_that_blackwell_names_is_the_product() -> None:
    named = GpuAttester.of(BLACKWELL.vendor, replace(B200, chip_info="GB202"))
    with rejected(Reason.GPU_RIM_MISMATCH):
        verified(named)
    rims = {kind: rim_of(named.rim(kind, lambda form: replace(form, product="GB202"))) for kind in named.rim_kinds}
    assert verified(named, rims=Rims(**rims)).arch is GpuArch.BLACKWELL
    # Hopper does not name its chip, and what it says instead counts for nothing.
    assert verified(altered(chip_info="GB202")).arch is GpuArch.HOPPER


def test_n17_rim_outside_of_its_window() -> None:
    for role in ("rim_signer", "rim_l3", "rim_ca"):
        vendor = VENDOR.reissue(role, lambda form: replace(form, not_after=AT))
        gpu = GpuAttester.of(vendor, GPU.gpu)
        assert verified(gpu).validity.not_after == AT
        with rejected(Reason.GPU_RIM_EXPIRED):
            verified(gpu, at=AT + DAY)
    with rejected(Reason.GPU_RIM_NOT_YET_VALID):
        verified(at=AT - 1000 * DAY)


# ---------------------------------------------------------------------------------------------------------------------
# Measurements


@pytest.mark.parametrize("index", BASELINE.compared)
def test_n18_each_measurement(index: int) -> None:
    wrong = flip(47)(GPU.gpu.blocks[index].value)
    with not_authentic(Reason.GPU_MEASUREMENTS):
        verified(raw=GPU.report(SpdmReport(edit_blocks=measured({index: wrong}))))


@pytest.mark.parametrize("index", sorted({*range(64)} - {*BASELINE.compared}))
def test_n18_measurements_without_a_golden_value(index: int) -> None:
    claims = verified(raw=GPU.report(SpdmReport(edit_blocks=measured({index: b"\xff" * 48}))))
    assert claims.compared == BASELINE.compared


def test_n18_alternatives() -> None:
    golden = GPU.gpu.golden("vbios") | GPU.gpu.golden("driver")
    for index in (12, 32):
        assert len(golden[index]) > 1
        for value in golden[index]:
            verified(raw=GPU.report(SpdmReport(edit_blocks=measured({index: value}))))
    with not_authentic(Reason.GPU_MEASUREMENTS):
        verified(raw=GPU.report(SpdmReport(edit_blocks=measured({12: golden[32][0], 32: golden[12][0]}))))


def test_n18_both_values_are_listed_by_index() -> None:
    wrong = {9: b"\xaa" * 48, 12: b"\xbb" * 48, 39: b"\xcc" * 48}
    raw = GPU.report(SpdmReport(edit_blocks=measured(wrong)))
    with pytest.raises(NotAuthentic) as caught:
        verified(raw=raw)
    golden = GPU.gpu.golden("vbios") | GPU.gpu.golden("driver")
    assert caught.value.found == "9: aaaaaaaaaaaaaaaa…, 12: bbbbbbbbbbbbbbbb…, 39: cccccccccccccccc…"
    nine, twelve, last = (golden[index][0][:8].hex() for index in wrong)
    assert caught.value.wanted == f"9: {nine}… (vbios), 12: {twelve}… or 3 more (vbios), 39: {last}… (driver)"
    mismatches = compare(parse_report(raw), rims_of()).mismatches
    assert {one.index: one.runtime for one in mismatches} == wrong
    assert {one.index: one.golden for one in mismatches} == {index: golden[index] for index in wrong}
    assert [one.source for one in mismatches] == ["vbios", "vbios", "driver"]


def test_n18_a_refusal_of_everything_is_short() -> None:
    raw = GPU.report(SpdmReport(edit_blocks=lambda blocks: [replace(one, value=b"\xff" * 48) for one in blocks]))
    with pytest.raises(NotAuthentic) as caught:
        verified(raw=raw)
    assert len(caught.value.found.split(", ")) == len(BASELINE.compared)
    assert len(str(caught.value)) < 4096


def test_n18_measurements_of_another_place() -> None:
    golden = GPU.gpu.golden("vbios")
    with not_authentic(Reason.GPU_MEASUREMENTS):
        verified(raw=GPU.report(SpdmReport(edit_blocks=measured({1: golden[2][0], 2: golden[1][0]}))))


def test_n19_index_in_both_rims() -> None:
    """Even with the value that was measured: the RIMs are of one vendor, who has them apart."""
    values = GPU.gpu.golden("vbios")[9]
    conflicting = edited(GPU, lambda form: form.having(9, lambda one: Golden(index=one.index, values=values)), "driver")
    with rejected(Reason.GPU_RIM_CONFLICT):
        verified(rims=conflicting)


def test_n21_fewer_measurements_than_golden_values() -> None:
    fewer = GPU.report(SpdmReport(edit_blocks=lambda blocks: blocks[:40]))  # index 40 is active and not there
    with pytest.raises(NotAuthentic) as caught:
        verified(raw=fewer)
    assert (caught.value.reason, caught.value.found) == (Reason.GPU_MEASUREMENTS, "40: none")
    verified(raw=GPU.report(SpdmReport(edit_blocks=lambda blocks: blocks[:41])))


def test_index_35_counts_while_its_decoder_is_enabled() -> None:
    enabled = opaque_field(NVDEC0_STATUS, b"\xaa")
    right = verified(raw=GPU.report(SpdmReport(edit_opaque=enabled)))
    assert (set(right.compared) - set(BASELINE.compared), right.skipped) == ({35}, ())
    wrong = measured({35: bytes(48)})
    with not_authentic(Reason.GPU_MEASUREMENTS):
        verified(raw=GPU.report(SpdmReport(edit_opaque=enabled, edit_blocks=wrong)))
    assert verified(raw=GPU.report(SpdmReport(edit_blocks=wrong))).compared == BASELINE.compared


def test_golden_values_are_of_the_rim_at_hand() -> None:
    """The vendor renews a RIM under the same id: which one was taken is told by its digest."""
    renewed = edited(GPU, lambda form: form.having(9, lambda one: replace(one, values=(b"\x09" * 48,))))
    with not_authentic(Reason.GPU_MEASUREMENTS):
        verified(rims=renewed)
    claims = verified(raw=GPU.report(SpdmReport(edit_blocks=measured({9: b"\x09" * 48}))), rims=renewed)
    assert claims.vbios_rim.id == BASELINE.vbios_rim.id
    assert claims.vbios_rim.sha256 != BASELINE.vbios_rim.sha256


# ---------------------------------------------------------------------------------------------------------------------
# Revocation


ROLES = ("brom", "provisioner", "identity", "rim_signer", "rim_l3", "rim_ca")


@pytest.mark.parametrize("role", ROLES)
def test_n09_each_certificate_may_be_revoked(role: str) -> None:
    for state, reason in (("revoked", Reason.GPU_REVOKED), ("unknown", Reason.GPU_REVOCATION_UNKNOWN)):
        states: dict[str, Any] = {role: state}
        with not_authentic(reason):
            verified(revocations=revocations_of(**states))


@pytest.mark.parametrize("role", ROLES)
def test_n09_hold_is_for_the_policy(role: str) -> None:
    states: dict[str, Any] = {role: "hold"}
    claims = verified(revocations=revocations_of(**states))
    held, good = (RevocationState.GOOD, RevocationState.HOLD), (RevocationState.GOOD,)
    is_rim = role.startswith("rim")
    assert claims.chain.revocation == (good if is_rim else held)
    assert claims.vbios_rim.chain.revocation == (held if is_rim else good)
    assert claims.driver_rim is not None
    assert claims.driver_rim.chain.revocation == (held if is_rim else good)


def test_n09_nobody_was_asked() -> None:
    assert BASELINE.chain.revocation == BASELINE.vbios_rim.chain.revocation == (RevocationState.UNAVAILABLE,)


def test_n09_one_answer_is_missing() -> None:
    claims = verified(revocations=revocations_of(raw=answers()[1:]))
    assert claims.chain.revocation == (RevocationState.GOOD, RevocationState.UNAVAILABLE)


def test_n09_answers_that_have_expired() -> None:
    """What was authenticated in time and kept is not good for ever; what was stale then is so now."""
    kept = revocations_of()
    with rejected(Reason.GPU_OCSP_EXPIRED):
        verified(revocations=kept, at=AT + DAY)
    with rejected(Reason.GPU_OCSP_NOT_YET_VALID):
        verified(revocations=kept, at=AT - DAY)
    stale = revocations_of(at=AT + DAY)
    claims = verified(revocations=stale, at=AT + DAY)
    assert claims.chain.revocation == (RevocationState.STALE,)
    assert claims.validity == BASELINE.validity


def test_n09_answers_about_other_certificates() -> None:
    other = GpuAttester.of(VENDOR, GPU.gpu.numbered(1))
    good = revocations_of()
    others = authenticate_revocation(device_of(other.chain).chain[1:], answers(other), AT)
    # Of one less, of the leaf too, and of another chain.
    shorter = authenticate_revocation(device_of(GPU.chain).chain[2:], answers(), AT)
    longer = authenticate_revocation(device_of(GPU.chain).chain, answers(), AT)
    for wrong in (others, shorter, longer, good.vbios_rim):
        with rejected(Reason.GPU_OCSP_CERTIFICATE):
            verified(revocations=good._replace(device=wrong))
    for name in ("driver_rim", "vbios_rim"):
        with rejected(Reason.GPU_OCSP_CERTIFICATE):
            verified(revocations=good._replace(**{name: good.device}))


# ---------------------------------------------------------------------------------------------------------------------
# Export


def exported(**arguments: Any) -> dict[str, Any]:
    return export_gpu(verified(revocations=revocations_of(), **arguments))


CHAIN = {
    "x-nvidia-cert-expiration-date": "9999-12-31T23:59:59Z",
    "x-nvidia-cert-status": "valid",
    "x-nvidia-cert-ocsp-status": "good",
    "x-nvidia-cert-revocation-reason": None,
}


def test_export_has_nvidia_s_names() -> None:
    shown = exported()
    assert shown["x-nvidia-device-type"] == "gpu"
    assert shown["x-nvidia-gpu-attestation-report-cert-chain"] == CHAIN
    assert shown["x-nvidia-gpu-attestation-report-cert-chain-fwid-match"] is True
    assert shown["x-nvidia-gpu-driver-version"] == "580.95.05"
    assert shown["x-nvidia-gpu-vbios-version"] == "96.00.CF.00.01"
    assert shown["x-nvidia-gpu-mode"] == GpuMode.SPT
    assert shown["measres"] == "success"
    assert shown["hwmodel"] == "GH100 A01 GSP BROM"
    assert shown["ueid"] == str(BASELINE.ueid)
    assert shown["eat_nonce"] == NONCE.hex()
    for check in (
        *("arch-check", "vbios-index-no-conflict"),
        *("attestation-report-parsed", "attestation-report-signature-verified"),
        *(f"driver-rim-{what}" for what in ("fetched", "signature-verified", "version-match")),
        *(f"vbios-rim-{what}" for what in ("fetched", "signature-verified", "version-match")),
        *("driver-rim-measurements-available", "vbios-rim-measurements-available"),
    ):
        assert shown[f"x-nvidia-gpu-{check}"] is True
    for rim in ("driver", "vbios"):
        chain = shown[f"x-nvidia-gpu-{rim}-rim-cert-chain"]
        assert chain | {"x-nvidia-cert-expiration-date": None} == CHAIN | {"x-nvidia-cert-expiration-date": None}
    # Nothing was verified of these.
    assert not {"secboot", "dbgstat", "x-nvidia-gpu-attestation-report-nonce-match"} & shown.keys()


def test_export_has_all_fields() -> None:
    shown = exported()
    assert shown["arch"] == "HOPPER"
    assert (shown["device_id"], shown["pdi"]) == (BASELINE.device_id.hex(), BASELINE.pdi.hex())
    assert shown["spdm_device_id"] == BASELINE.spdm_device_id
    assert shown["opaque"]["board_id"] == "37040000"
    assert shown["opaque"]["fwid"] == GPU.gpu.fwid.hex()
    assert shown["opaque"]["nvdec0_status"] is False
    assert shown["measurements_compared"] == list(BASELINE.compared)
    assert shown["measurements_skipped"] == [35]
    assert shown["driver_rim"] == {
        "id": GPU.gpu.rim_id("driver"),
        "sha256": sha256(GPU.rim("driver")).hexdigest(),
        "signed_from": "2026-05-02T00:00:00Z",
        "revocation": ["good"],
    }
    assert shown["vbios_rim"]["id"] == GPU.gpu.rim_id("vbios")


def test_export_of_a_nonce() -> None:
    name = "x-nvidia-gpu-attestation-report-nonce-match"
    assert export_gpu(BASELINE, nonce=NONCE)[name] is True
    assert export_gpu(BASELINE, nonce=bytes(32))[name] is False


def test_export_of_a_switch() -> None:
    shown: dict[str, Any] = export_gpu(verified(SWITCH))
    assert shown["x-nvidia-device-type"] == "nvswitch"
    assert shown["x-nvidia-switch-bios-version"] == "96.10.55.00.01"
    assert shown["x-nvidia-switch-bios-rim-version-match"] is True
    assert not [name for name in shown if name.startswith("x-nvidia-gpu")]
    assert shown["driver_rim"] is None
    assert shown["opaque"]["gpu_pdis"] == [pdi.hex() for pdi in SWITCH.gpu.gpu_pdis]


def test_export_does_not_say_more_than_is_known() -> None:
    absent = verified(raw=GPU.report(SpdmReport(edit_opaque=opaque_field(FWID, None))))
    shown: dict[str, Any] = export_gpu(absent)
    assert (shown["fwid"], shown["x-nvidia-gpu-attestation-report-cert-chain-fwid-match"]) == ("absent", None)
    assert shown["x-nvidia-gpu-attestation-report-cert-chain"] == CHAIN | {"x-nvidia-cert-ocsp-status": "unknown"}
    assert shown["revocation"] == ["unavailable"]
    held: dict[str, Any] = export_gpu(verified(revocations=revocations_of(brom="hold")))
    assert held["x-nvidia-gpu-attestation-report-cert-chain"] == CHAIN | {
        "x-nvidia-cert-status": "revoked",
        "x-nvidia-cert-ocsp-status": "revoked",
        "x-nvidia-cert-revocation-reason": "certificateHold",
    }
    assert held["revocation"] == ["good", "hold"]


def test_mode_is_shown_as_reported() -> None:
    assert export_gpu(verified(altered(feature_flag=None)))["x-nvidia-gpu-mode"] is None
    protected = altered(feature_flag=PPCIE, protected_pcie_status=ON)
    assert export_gpu(verified(protected))["x-nvidia-gpu-mode"] == "PPCIE"


def test_other_vendor_s_device() -> None:
    """A device is authenticated before its report is looked at, and none of another root ever is."""
    mallory = GpuAttester.of(NvidiaVendor.of("HOPPER", seed="mallory"), H100)
    with not_authentic(Reason.GPU_UNTRUSTED_ROOT):
        verify(
            parse_report(mallory.report()),
            authenticate_device(mallory.chain, ANCHORS, AT),
            rims_of(),
            Revocations(),
            AT,
        )
