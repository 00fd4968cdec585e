"""What is kept of certificates between requests: as good as what is held now, whatever was held then."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from attestd.claims import RevocationState
from attestd.errors import Reason
from attestd.evidence import SnpEvidence
from attestd.nvgpu import collateral as nvidia
from attestd.nvgpu.attestation import parse_gpu
from attestd.registrar.authentic import Authenticator
from attestd.simulator import AT, AmdVendor, GpuAttester, NvidiaVendor, SnpAttester
from attestd.simulator.gpu_attester import ASKED_ROLES
from attestd.snp.attestation import Certificates, SnpAttestation, parse_attestation
from attestd.snp.collateral import SnpEndorsements, collect
from attestd.verifier import GpuSubject
from attestd.x509 import TrustAnchors
from tests.refusals import malformed, not_authentic

VENDOR = AmdVendor.of()
# The same key certified again.
REISSUED = VENDOR.reissue(
    "ask", lambda form: replace(form, serial_number=0x20003, not_after=form.not_after - timedelta(days=1))
)
ANCHORS = TrustAnchors.load([VENDOR.ark.der])
ATTESTER = SnpAttester.of(VENDOR)


def held(*documents: bytes) -> SnpEndorsements:
    return collect({str(index): raw for index, raw in enumerate(documents)}, ANCHORS, AT).endorsements


def attestation(**came: bytes) -> SnpAttestation:
    parsed = parse_attestation(SnpEvidence(report=ATTESTER.report()))
    return parsed._replace(certificates=Certificates(**came))


def test_issuer_that_is_held_is_the_one_of_now() -> None:
    """Where the ASK did not come along: one that was revoked since does not stay because it was there first."""
    authenticator = Authenticator(ANCHORS)
    before, after = held(VENDOR.ask.der), held(VENDOR.ask.der, REISSUED.ask.der, VENDOR.crl([0x20002]))
    bare = attestation(vek=ATTESTER.vek.der)
    assert VENDOR.ask.serial_number == 0x20002
    for endorsements, issuer in ((before, VENDOR.ask), (after, REISSUED.ask), (before, VENDOR.ask)):
        subject = authenticator.amd(bare, endorsements, AT, crl_required=False)
        assert subject.vek.issuer.der == issuer.der


def test_issuer_that_came_along_stays() -> None:
    authenticator = Authenticator(ANCHORS)
    complete = attestation(vek=ATTESTER.vek.der, ask=VENDOR.ask.der)
    subjects = [authenticator.amd(complete, one, AT, crl_required=False) for one in (held(), held(REISSUED.ask.der))]
    assert subjects[0].vek is subjects[1].vek


GPU = GpuAttester.of(NvidiaVendor.of())
GPU_ANCHORS = TrustAnchors.load([GPU.vendor.root.der, GPU.vendor.rim_root.der])
RIMS = tuple(GPU.rim(kind) for kind in GPU.rim_kinds)
GOOD = tuple(GPU.ocsp(role) for role in ASKED_ROLES)
DAY = timedelta(days=1)


def of_nvidia(*documents: bytes) -> nvidia.GpuEndorsements:
    return nvidia.collect({str(index): raw for index, raw in enumerate(documents)}, GPU_ANCHORS, AT).endorsements


def gpu_subject(
    authenticator: Authenticator, endorsements: nvidia.GpuEndorsements, at: datetime = AT, gpu: GpuAttester = GPU
) -> GpuSubject:
    return authenticator.gpu(parse_gpu(gpu.answer(bytes(32)).evidence), endorsements, at)


def states(subject: GpuSubject) -> list[RevocationState]:
    return [revocation.state for revocation in subject.revocations]


def test_of_a_device_that_is_known_nothing_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    authenticator, endorsements = Authenticator(GPU_ANCHORS), of_nvidia(*RIMS, *GOOD)
    first = gpu_subject(authenticator, endorsements)
    for name in ("nvgpu.attestation.load_pem", "registrar.authentic.authenticate_revocation"):
        monkeypatch.setattr(f"attestd.{name}", None)
    again = gpu_subject(authenticator, endorsements)
    assert again.device is first.device
    assert again.revocations is first.revocations
    # A refresh that found nothing new makes another snapshot of the same.
    assert gpu_subject(authenticator, replace(endorsements)).revocations == first.revocations


def test_a_device_is_known_by_all_of_its_bytes() -> None:
    authenticator, endorsements = Authenticator(GPU_ANCHORS), of_nvidia(*RIMS)
    attestation = parse_gpu(GPU.answer(bytes(32)).evidence)
    known = authenticator.gpu(attestation, endorsements, AT).device
    pem = attestation.certificates
    assert authenticator.gpu(attestation._replace(certificates=pem + b"\0"), endorsements, AT).device == known
    for wrong in (pem[:-2], pem + b"x", pem.replace(b"M", b"N", 1)):
        with malformed(Reason.PEM_MALFORMED, Reason.DER_MALFORMED):
            authenticator.gpu(attestation._replace(certificates=wrong), endorsements, AT)


def test_a_device_that_is_not_authentic_is_not_kept() -> None:
    mallory = GpuAttester.of(NvidiaVendor.of(seed="mallory"))
    authenticator, endorsements = Authenticator(GPU_ANCHORS), of_nvidia(*RIMS)
    for _ in range(2):
        with not_authentic(Reason.GPU_UNTRUSTED_ROOT):
            gpu_subject(authenticator, endorsements, gpu=mallory)


def test_what_is_held_of_a_device_is_what_is_held_now() -> None:
    """Answers that came, changed and went between two requests; and RIMs that were renewed, or are gone."""
    authenticator = Authenticator(GPU_ANCHORS)
    revoked = (GPU.ocsp("brom", "revoked"), *GOOD[1:])
    assert ASKED_ROLES[0] == "brom"
    bare, good, bad = of_nvidia(*RIMS), of_nvidia(*RIMS, *GOOD), of_nvidia(*RIMS, *revoked)
    without_rims = replace(bad, manifests={})
    nothing, all_good = [RevocationState.UNAVAILABLE] * 3, [RevocationState.GOOD] * 3
    worst = [RevocationState.REVOKED, *all_good[1:]]
    for endorsements, expected in (
        (bare, nothing),
        (good, all_good),
        (bad, worst),
        (bare, nothing),
        (without_rims, [RevocationState.REVOKED, *nothing[1:]]),
        (good, all_good),
    ):
        for _ in range(2):
            subject = gpu_subject(authenticator, endorsements)
            assert states(subject) == expected
            assert [rim is not None for rim in subject.rims] == [bool(endorsements.manifests)] * 2
    renewed = GpuAttester.of(NvidiaVendor.of(at=AT + DAY))
    newer = nvidia.collect({"vbios": renewed.rim("vbios")}, GPU_ANCHORS, AT + DAY, good).endorsements
    subject = gpu_subject(authenticator, newer, AT + DAY)
    assert subject.rims.vbios is not None
    assert subject.rims.vbios.signed_from == renewed.vendor.rim_signer.form.not_before


def test_rims_of_another_version_are_looked_up_by_themselves() -> None:
    """The same device, before and after an update of its driver."""
    updated = GpuAttester.of(GPU.vendor, replace(GPU.gpu, driver_version="999.99"))
    assert updated.certificates == GPU.certificates
    authenticator = Authenticator(GPU_ANCHORS)
    endorsements = of_nvidia(*RIMS, updated.rim("driver"), *GOOD)
    for gpu in (GPU, updated, GPU):
        driver = gpu_subject(authenticator, endorsements, gpu=gpu).rims.driver
        assert driver is not None
        assert driver.version == gpu.gpu.driver_version


def test_answers_that_expire_are_looked_at_again() -> None:
    authenticator, endorsements = Authenticator(GPU_ANCHORS), of_nvidia(*RIMS, *GOOD)
    assert states(gpu_subject(authenticator, endorsements)) == [RevocationState.GOOD] * 3
    for _ in range(2):
        assert states(gpu_subject(authenticator, endorsements, AT + 2 * DAY)) == [RevocationState.STALE] * 3
