"""What a service takes of AMD's and NVIDIA's documents: held against the registry's marks, counted, compared."""

import shutil
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from attestd.claims import RevocationState
from attestd.endorsements import FolderEndorsements, write_bundle
from attestd.errors import AttestdError, Reason, Unavailable
from attestd.evidence import SnpEvidence
from attestd.metrics import Metrics
from attestd.nvgpu.attestation import parse_gpu
from attestd.registrar.authentic import Authenticator
from attestd.registrar.collateral import CollateralStore, marks_of
from attestd.registry import Registry
from attestd.simulator import AT, BERGAMO, AmdVendor, GpuAttester, NvidiaVendor, SnpAttester, Vendor, pem
from attestd.simulator.gpu_attester import ASKED_ROLES
from attestd.snp.attestation import SnpAttestation, parse_attestation
from attestd.verifier import AmdSubject, GpuSubject, verify_gpu, verify_subject
from attestd.x509 import Certificate, TrustAnchors
from tests.refusals import not_authentic, refused, rejected
from tests.registry.samples import REGISTRY_ID

INTEL, AMD = Vendor.of(), AmdVendor.of()
ARK = Certificate(AMD.ark.der)
GPU = GpuAttester.of(NvidiaVendor.of())
RENEWED = GpuAttester.of(NvidiaVendor.of(at=AT + timedelta(days=1)))
ANCHORS = TrustAnchors.load([INTEL.root.der, AMD.ark.der, GPU.vendor.root.der, GPU.vendor.rim_root.der])
ATTESTER = SnpAttester.of(AMD)
SECOND = timedelta(seconds=1)
EXPIRY = 'attestd_collateral_expiry_timestamp_seconds{tee="snp"}'


def crl(number: int, revoked: tuple[int, ...] = ()) -> bytes:
    return AMD.crl(revoked, edit=lambda form: form.numbered(number))


def attestation(table: bytes | None = None) -> SnpAttestation:
    return parse_attestation(SnpEvidence(report=ATTESTER.report(), certificates=table))


class Service:
    """A store over a folder, on a registry that may be away."""

    def __init__(self, folder: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.registry = registry
        self._monkeypatch = monkeypatch
        self.metrics = Metrics("0", simulated=True)
        self.authenticator = Authenticator(ANCHORS)
        self.start()

    def start(self, at: datetime = AT) -> None:
        """Start again: what was held in memory is gone."""
        self.store = CollateralStore(FolderEndorsements(self.folder, ANCHORS, at), self.registry, self.metrics)

    def put(self, name: str, raw: bytes) -> None:
        (self.folder / name).write_bytes(raw)

    def refresh(self) -> None:
        self.store.refresh(AT)

    def subject(self, table: bytes | None = None, *, crl_required: bool = False) -> AmdSubject:
        return self.authenticator.amd(attestation(table), self.store.snp(), AT, crl_required=crl_required)

    def lose_the_database(self) -> None:
        def write(*_: Any, **__: Any) -> Future[None]:
            failed: Future[None] = Future()
            failed.set_exception(Unavailable(Reason.DATABASE_UNAVAILABLE, found="nothing", wanted="an answer"))
            return failed

        self._monkeypatch.setattr(self.registry, "write", write)

    def find_the_database(self) -> None:
        self._monkeypatch.undo()

    def metric(self, sample: str) -> float:
        lines = self.metrics.exposition().decode().splitlines()
        (value,) = [line.removeprefix(sample) for line in lines if line.startswith(sample)]
        return float(value)


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    folder = tmp_path / "endorsements"
    folder.mkdir()
    (folder / "ask.pem").write_bytes(pem(AMD.ask.der))
    (folder / "vcek.der").write_bytes(ATTESTER.vek.der)
    registry = Registry.open(f"sqlite:///{tmp_path}/attestd.db", registry_id=REGISTRY_ID, at=AT)
    yield Service(folder, registry, monkeypatch)
    monkeypatch.undo()
    registry.close()


def number(subject: AmdSubject) -> int | None:
    return None if subject.crl is None else subject.crl.number


def test_nothing_is_taken_before_the_first_refresh(service: Service) -> None:
    with refused(Unavailable, Reason.SNP_ENDORSEMENTS_MISSING):
        service.subject()
    assert service.store.admitted() == frozenset()
    service.refresh()
    assert number(service.subject()) is None


def test_crl_is_used_as_soon_as_it_was_compared(service: Service) -> None:
    service.put("crl.der", crl(4))
    service.refresh()
    assert number(service.subject(crl_required=True)) == 4
    service.put("crl.der", crl(5))
    assert number(service.subject()) == 4
    service.refresh()
    assert number(service.subject()) == 5


def test_older_crl_is_refused_after_a_restart_too(service: Service) -> None:
    """C34, C40: what was seen is in the database."""
    service.put("crl.der", crl(5))
    service.refresh()
    service.put("crl.der", crl(4))
    service.refresh()
    assert number(service.subject()) == 5
    before = service.store.admitted()
    service.start()
    service.refresh()
    for required in (False, True):
        with rejected(Reason.SNP_CRL_ROLLBACK):
            service.subject(crl_required=required)
    assert service.store.admitted() != before
    # The evidence may bring along the one that was seen, or a newer one.
    assert number(service.subject(ATTESTER.certificate_table(crl(5)))) == 5
    service.put("crl.der", crl(6))
    service.refresh()
    assert number(service.subject()) == 6


def test_the_same_crl_is_no_rollback(service: Service) -> None:
    service.put("crl.der", crl(5))
    for _ in range(2):
        service.start()
        service.refresh()
        assert number(service.subject()) == 5


def test_marks_of_a_subject(service: Service) -> None:
    service.refresh()
    assert marks_of(service.subject(), ()) == []
    service.put("crl.der", crl(5))
    service.refresh()
    (mark,) = marks_of(service.subject(), ())
    assert (mark.kind, mark.id, mark.value >> 40) == ("ark_crl", "ARK-Genoa", 5)


def test_while_the_database_is_away_nothing_new_is_taken(service: Service) -> None:
    service.put("crl.der", crl(5))
    service.lose_the_database()
    service.refresh()
    with refused(Unavailable, Reason.SNP_ENDORSEMENTS_MISSING):
        service.subject()
    service.find_the_database()
    service.refresh()
    service.lose_the_database()
    service.put("crl.der", crl(6))
    service.refresh()
    assert number(service.subject()) == 5
    service.find_the_database()
    service.refresh()
    assert number(service.subject()) == 6


def test_intel_s_while_the_database_is_away(service: Service) -> None:
    write_bundle(service.folder / "tdx", INTEL.collateral())
    service.lose_the_database()
    service.refresh()
    assert not any(len(digests) > 1 for digests in service.store.admitted())
    service.find_the_database()
    service.refresh()
    admitted = service.store.admitted()
    assert any(len(digests) > 1 for digests in admitted)
    service.lose_the_database()
    service.refresh()
    assert service.store.admitted() == admitted


def test_what_is_in_use_differs_whenever_verdicts_may(service: Service) -> None:
    seen = []
    for name, raw in (("none", b""), ("crl.der", crl(5)), ("crl.der", crl(6)), ("asvk.pem", pem(AMD.asvk.der))):
        service.put(name, raw)
        service.refresh()
        seen.append(service.store.admitted())
    assert len(set(seen)) == len(seen)
    # A key whose evidence lacked its VCEK is tried again in any case.
    service.put("other_vcek.der", SnpAttester.of(AMD, BERGAMO).vek.der)
    service.refresh()
    assert (len(service.store.snp().veks), service.store.admitted()) == (2, seen[-1])


def test_revoked_ask_is_refused(service: Service) -> None:
    service.put("crl.der", crl(4))
    service.refresh()
    before = service.store.admitted()
    assert verify_subject(service.subject(), (), AT).claims.tee == "snp"
    service.put("crl.der", crl(5, (AMD.ask.serial_number,)))
    service.refresh()
    assert service.store.admitted() != before
    with not_authentic(Reason.SNP_ASK_REVOKED):
        verify_subject(service.subject(), (), AT)


def test_expired_crl_is_no_use(service: Service) -> None:
    service.put("crl.der", crl(4))
    service.refresh()
    after = service.store.snp().crls[ARK].validity.not_after + timedelta(seconds=1)
    assert (service.store.lapsed(AT), service.store.lapsed(after)) == ([], ["AMD"])
    service.store.refresh(after)
    with rejected(Reason.SNP_CRL_EXPIRED):
        verify_subject(service.subject(), (), after)


def test_an_older_list_of_the_same_ark_may_revoke_too(service: Service) -> None:
    service.put("vcek_crl.der", crl(5))
    service.refresh()
    before = service.store.admitted()
    service.put("vlek_crl.der", crl(4, (AMD.ask.serial_number,)))
    service.refresh()
    assert service.store.admitted() != before  # so that keys are judged again
    with not_authentic(Reason.SNP_ASK_REVOKED):
        verify_subject(service.subject(), (), AT)


def test_nothing_at_all_has_not_lapsed(service: Service) -> None:
    """Nor has it where documents are refused for anything but their age."""
    service.put("crl.der", b"no CRL")
    service.refresh()
    assert service.store.lapsed(AT) == []


def test_each_vendor_lapses_by_itself(service: Service) -> None:
    write_bundle(service.folder / "tdx", INTEL.collateral())
    service.put("crl.der", crl(4))
    service.refresh()
    (collateral,) = {held.validity.not_after for held in service.store._source.held()}
    at = collateral, collateral + SECOND
    assert [service.store.lapsed(moment) for moment in at] == [[], ["Intel"]]
    of_crl = service.store.snp().crls[ARK].validity.not_after
    assert [service.store.lapsed(moment) for moment in (of_crl, of_crl + SECOND)] == [["Intel"], ["Intel", "AMD"]]


@pytest.mark.parametrize("restart", [False, True])
def test_what_is_refused_as_expired_has_lapsed(service: Service, *, restart: bool) -> None:
    """Whether or not it is still held: nothing is after a restart, nor of Intel's after the folder is loaded again."""
    write_bundle(service.folder / "tdx", INTEL.collateral())
    service.put("crl.der", crl(4))
    service.refresh()
    after = AT + timedelta(days=400)
    if restart:
        service.start(after)
    service.put("other_crl.der", crl(5))
    service.store.refresh(after)
    assert service.store._source.held() == ()
    assert service.store.lapsed(after) == ["Intel", "AMD"]
    # Who takes the documents out does without the vendor.
    shutil.rmtree(service.folder / "tdx")
    service.store.refresh(after)
    assert service.store.lapsed(after) == ["AMD"]


@pytest.mark.parametrize("document", ["tcb_info", "qe_identity", "root_ca_crl", "pck_crl"])
def test_a_bundle_has_lapsed_with_the_first_of_its_documents(service: Service, document: str) -> None:
    raw, hour = INTEL.collateral(), timedelta(hours=1)
    old = Vendor.of(at=AT - timedelta(days=40)).collateral()
    write_bundle(service.folder / "tdx", replace(raw, **{document: getattr(old, document)}))
    service.refresh()
    assert service.store.lapsed(AT + hour) == ["Intel"]


def test_gauges(service: Service) -> None:
    service.refresh()
    assert service.metric(EXPIRY) == 0
    service.put("crl.der", crl(4))
    service.put("bad_crl.der", b"no CRL")
    service.refresh()
    assert service.metric(EXPIRY) == service.store.snp().crls[ARK].validity.not_after.timestamp()
    assert service.metric("attestd_collateral_refused_files") == 1


# ---------------------------------------------------------------------------------------------------------------------
# What is kept of authenticated keys


def test_certificate_that_came_is_authenticated_once(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.refresh()
    table = ATTESTER.certificate_table()
    alone = pem(ATTESTER.vek.der)
    made = [service.subject(evidence).vek for evidence in (None, alone, table)]
    monkeypatch.setattr("attestd.registrar.authentic.authenticate_vek", None)
    assert [service.subject(evidence).vek for evidence in (None, alone, table)] == made


def test_what_was_not_authentic_is_not_kept(service: Service) -> None:
    service.refresh()
    mallory = AmdVendor.of(seed="mallory")
    forged = SnpAttester.of(replace(AMD, ask=mallory.ask)).vek.der
    for _ in range(2):
        for raw in (pem(forged), pem(ATTESTER.vek.der, mallory.ask.der)):
            with pytest.raises(AttestdError) as caught:
                service.subject(raw)
            assert caught.value.reason is Reason.SNP_VEK_CHAIN
        with not_authentic(Reason.SNP_UNTRUSTED_ROOT):
            service.subject(pem(*ATTESTER.chain[:2], mallory.ark.der))
        assert service.subject(pem(*ATTESTER.chain)).vek.root == ARK


# ---------------------------------------------------------------------------------------------------------------------
# NVIDIA's

GPU_EXPIRY = 'attestd_collateral_expiry_timestamp_seconds{tee="nvidia"}'


@pytest.fixture
def gpus(service: Service) -> Service:
    """Hold what a GPU needs."""
    for kind in GPU.rim_kinds:
        service.put(f"{kind}.swidtag", GPU.rim(kind))
    service.start()
    return service


def device(service: Service, gpu: GpuAttester = GPU, at: datetime = AT) -> GpuSubject:
    answer = gpu.answer(bytes(32))
    return service.authenticator.gpu(parse_gpu(answer.evidence), service.store.gpu(), at)


def used(subject: GpuSubject) -> list[bytes]:
    return [rim.sha256 for rim in subject.rims if rim is not None]


def rim_digests(gpu: GpuAttester = GPU) -> list[bytes]:
    return [sha256(gpu.rim(kind)).digest() for kind in gpu.rim_kinds]


def test_no_rim_is_taken_before_the_first_refresh(gpus: Service) -> None:
    with refused(Unavailable, Reason.GPU_RIM_MISSING):
        device(gpus)
    gpus.refresh()
    assert used(device(gpus)) == rim_digests()


def test_older_rim_is_refused_after_a_restart_too(gpus: Service) -> None:
    renewed = [sha256(RENEWED.rim("driver")).digest(), rim_digests()[1]]
    gpus.put("driver.swidtag", RENEWED.rim("driver"))
    gpus.refresh()
    assert used(device(gpus)) == renewed
    gpus.put("driver.swidtag", GPU.rim("driver"))
    gpus.refresh()
    assert used(device(gpus)) == renewed
    before = gpus.store.admitted()
    gpus.start()
    gpus.refresh()
    with rejected(Reason.GPU_RIM_ROLLBACK):
        device(gpus)
    assert (rim_digests()[0],) not in gpus.store.admitted()
    assert (rim_digests()[1],) in gpus.store.admitted() & before
    gpus.put("renewed.swidtag", RENEWED.rim("driver"))
    gpus.refresh()
    assert used(device(gpus)) == renewed


def test_many_rims_are_compared_in_parts(gpus: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attestd.registrar.collateral._MARKS_AT_ONCE", 1)
    for kind in GPU.rim_kinds:
        gpus.put(f"{kind}.swidtag", RENEWED.rim(kind))
    gpus.refresh()
    for kind in GPU.rim_kinds:
        gpus.put(f"{kind}.swidtag", GPU.rim(kind))
    gpus.start()
    gpus.refresh()
    assert gpus.store.gpu().rolled_back == set(gpus.store.gpu().manifests)
    assert len(gpus.store.gpu().rolled_back) == 2


def test_rims_while_the_database_is_away(gpus: Service) -> None:
    gpus.lose_the_database()
    gpus.refresh()
    with refused(Unavailable, Reason.GPU_RIM_MISSING):
        device(gpus)
    gpus.find_the_database()
    gpus.refresh()
    gpus.lose_the_database()
    gpus.put("driver.swidtag", RENEWED.rim("driver"))
    gpus.refresh()
    assert used(device(gpus)) == rim_digests()
    gpus.find_the_database()
    gpus.refresh()
    assert used(device(gpus))[0] == sha256(RENEWED.rim("driver")).digest()


def test_marks_of_devices(gpus: Service) -> None:
    gpus.refresh()
    subjects = (device(gpus), device(gpus))
    names = {f"driver_GH100_{GPU.gpu.driver_version}", f"vbios_GH100_{GPU.gpu.vbios_version}"}
    marks = marks_of(gpus.subject(), subjects)
    assert sorted((mark.kind, mark.id) for mark in marks) == [("gpu_rim", name) for name in sorted(names)]
    assert {mark.value for mark in marks} == {int(GPU.vendor.rim_signer.form.not_before.timestamp())}


def test_verdicts_on_devices_differ_with_rims_and_answers(gpus: Service) -> None:
    seen = []
    for name, raw in (
        ("none", b""),
        ("vbios.swidtag", RENEWED.rim("vbios")),
        ("brom.ocsp", GPU.ocsp("brom")),
        ("brom.ocsp", GPU.ocsp("brom", "revoked")),
    ):
        gpus.put(name, raw)
        gpus.refresh()
        seen.append(gpus.store.admitted())
    assert len(set(seen)) == len(seen)


def test_nvidia_s_lapse_with_the_last_rim(gpus: Service) -> None:
    gpus.put("driver.swidtag", RENEWED.rim("driver"))
    gpus.refresh()
    ends = RENEWED.vendor.rim_signer.form.not_after
    assert gpus.metric(GPU_EXPIRY) == GPU.vendor.rim_signer.form.not_after.timestamp()
    assert [gpus.store.lapsed(at) for at in (ends, ends + SECOND)] == [[], ["NVIDIA"]]
    gpus.start(ends + SECOND)
    gpus.store.refresh(ends + SECOND)
    assert gpus.store.lapsed(ends + SECOND) == ["NVIDIA"]


def test_no_rim_no_expiry(service: Service) -> None:
    service.refresh()
    assert service.metric(GPU_EXPIRY) == 0


def test_answers_are_authenticated_once_and_again_when_they_have_expired(
    gpus: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    for role in ASKED_ROLES:
        gpus.put(f"{role}.ocsp", GPU.ocsp(role))
    gpus.refresh()
    first = device(gpus)
    assert {state for one in first.revocations for state in one.states} == {RevocationState.GOOD}
    with monkeypatch.context() as patch:
        patch.setattr("attestd.registrar.authentic.authenticate_revocation", None)
        patch.setattr("attestd.registrar.authentic.authenticate_device", None)
        assert device(gpus).revocations == first.revocations
    assert verify_gpu(first, AT).chain.revocation == (RevocationState.GOOD,)
    after = AT + timedelta(days=2)
    stale = device(gpus, at=after)
    assert {state for one in stale.revocations for state in one.states} == {RevocationState.STALE}
    # What was found out again is kept in its place.
    monkeypatch.setattr("attestd.registrar.authentic.authenticate_revocation", None)
    assert device(gpus, at=after).revocations == stale.revocations
