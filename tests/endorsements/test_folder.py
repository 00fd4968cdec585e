import shutil
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from attestd.claims import PckCa
from attestd.endorsements import (
    Endorsements,
    FolderEndorsements,
    HighWater,
    crl_newness,
    high_water,
    rim_newness,
    write_bundle,
)
from attestd.endorsements import folder as folder_module
from attestd.errors import ConfigurationRefused, Reason, Unavailable
from attestd.nvgpu.collateral import GpuEndorsements
from attestd.simulator.amd import AmdVendor
from attestd.simulator.collateral import Document, timestamp
from attestd.simulator.gpu_attester import GpuAttester
from attestd.simulator.keys import p256_key
from attestd.simulator.nvidia import NvidiaVendor
from attestd.simulator.pck import Platform
from attestd.simulator.snp_attester import SnpAttester
from attestd.simulator.tampering import Signing, swap
from attestd.simulator.vendor import AT, Vendor, pem
from attestd.snp.collateral import SnpEndorsements
from attestd.tdx.collateral import RawCollateral, authenticate_collateral
from attestd.verifier import Requirement
from attestd.x509 import Certificate, TrustAnchors

VENDOR = Vendor.of()
LATER = Vendor.of(at=AT + timedelta(days=2))
ANCHORS = TrustAnchors.load([VENDOR.root.der])
FMSPC = Platform().fmspc
OTHER = bytes.fromhex("00606a000000")
NEEDED = Requirement("tdx", FMSPC, PckCa.PLATFORM)


def of_fmspc(fmspc: bytes, vendor: Vendor = VENDOR, ca: PckCa = PckCa.PLATFORM) -> RawCollateral:
    def edit(document: Document) -> None:
        document["fmspc"] = fmspc.hex()

    return vendor.collateral(ca=ca, tcb_info=vendor.tcb_info(edit))


def numbered(vendor: Vendor, number: int) -> RawCollateral:
    def edit(document: Document) -> None:
        document["tcbEvaluationDataNumber"] = number

    return vendor.collateral(tcb_info=vendor.tcb_info(edit))


def forged(raw: RawCollateral) -> RawCollateral:
    return replace(raw, tcb_info=VENDOR.tcb_info(signing=Signing(after=swap(b"UpToDate", b"UpTODate"))))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "tdx", VENDOR.collateral())
    return tmp_path


def source(folder: Path, at: datetime = AT) -> Endorsements:
    return FolderEndorsements(folder, ANCHORS, at)


def missing(endorsements: Endorsements, requirement: Requirement, at: datetime = AT) -> Unavailable:
    with pytest.raises(Unavailable) as refusal:
        endorsements.collateral(requirement, at)
    assert refusal.value.reason is Reason.TDX_ENDORSEMENTS_MISSING
    return refusal.value


def test_what_is_in_the_folder_is_authenticated_and_found(folder: Path) -> None:
    endorsements = source(folder)
    collateral = endorsements.collateral(NEEDED, AT)
    assert collateral == authenticate_collateral(VENDOR.collateral(), ANCHORS, AT)
    assert endorsements.held() == (collateral,)
    assert endorsements.refresh(AT) == ()


def test_a_refresh_returns_the_same_value_while_nothing_changes(folder: Path) -> None:
    endorsements = source(folder)
    collateral = endorsements.collateral(NEEDED, AT)
    assert endorsements.refresh(AT) == ()
    assert endorsements.collateral(NEEDED, AT) is collateral


def test_nothing_is_read_again_while_nothing_changes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endorsements = source(folder)
    monkeypatch.setattr(folder_module, "read_folder", None)
    assert endorsements.refresh(AT) == ()


def test_folder_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationRefused) as refusal:
        source(tmp_path / "none")
    assert refusal.value.reason is Reason.SETTINGS


def test_empty_folder_endorses_nothing_and_names_all(tmp_path: Path) -> None:
    endorsements = source(tmp_path)
    refusal = missing(endorsements, NEEDED)
    assert f"the TCB Info of TDX FMSPC {FMSPC.hex()}" in refusal.wanted
    assert "QE Identity for TDX" in refusal.wanted
    assert "CRL of the PCK platform CA" in refusal.wanted
    assert "CRL of the root CA" in refusal.wanted
    assert endorsements.held() == ()


def test_missing_platform_is_named(folder: Path) -> None:
    refusal = missing(source(folder), Requirement("tdx", OTHER, PckCa.PLATFORM))
    assert refusal.wanted == f"the TCB Info of TDX FMSPC {OTHER.hex()}"
    assert refusal.found == "collateral in force for 1 platforms, and 0 refusals"


def test_missing_crl_is_named(folder: Path) -> None:
    refusal = missing(source(folder), Requirement("tdx", FMSPC, PckCa.PROCESSOR))
    assert refusal.wanted == "the CRL of the PCK processor CA"


def test_missing_tee_is_named(folder: Path) -> None:
    refusal = missing(source(folder), Requirement("sgx", FMSPC, PckCa.PLATFORM))
    assert refusal.wanted == f"the TCB Info of SGX FMSPC {FMSPC.hex()}, the QE Identity for SGX"


def test_incomplete_bundle_is_reported(folder: Path) -> None:
    (folder / "tdx/pck_crl.der").unlink()
    endorsements = source(folder)
    (problem,) = endorsements.refresh(AT)
    assert (problem.file, problem.reason) == ("tdx", Reason.TDX_ENDORSEMENTS_MISSING)
    assert "pck_crl.der" in str(problem)
    missing(endorsements, NEEDED)


def test_doubled_document_is_reported(folder: Path) -> None:
    shutil.copy(folder / "tdx/pck_crl.der", folder / "tdx/pck_crl.pem")
    (problem,) = source(folder).refresh(AT)
    assert problem.reason is Reason.ENDORSEMENTS_FILE


def test_linked_document_is_reported(folder: Path) -> None:
    (folder / "tdx/pck_crl.der").rename(folder / "elsewhere")
    (folder / "tdx/pck_crl.der").symlink_to(folder / "elsewhere")
    problems = source(folder).refresh(AT)
    assert [(problem.file, problem.reason) for problem in problems] == [
        ("tdx/pck_crl.der", Reason.ENDORSEMENTS_FILE),
        ("tdx", Reason.TDX_ENDORSEMENTS_MISSING),
    ]


def test_forged_bundle_is_reported_and_not_used(folder: Path) -> None:
    write_bundle(folder / "tdx", forged(VENDOR.collateral()))
    endorsements = source(folder)
    (problem,) = endorsements.refresh(AT)
    assert (problem.file, problem.reason) == ("tdx", Reason.TDX_TCB_INFO_SIGNATURE)
    missing(endorsements, NEEDED)


def test_bundle_of_another_vendor_is_reported_and_not_used(folder: Path) -> None:
    write_bundle(folder / "tdx", Vendor.of(seed="mallory").collateral())
    (problem,) = source(folder).refresh(AT)
    assert problem.reason is Reason.TDX_UNTRUSTED_ROOT


def test_a_bad_bundle_leaves_the_last_good_one_in_use(folder: Path) -> None:
    endorsements = source(folder)
    good = endorsements.collateral(NEEDED, AT)
    write_bundle(folder / "tdx", forged(VENDOR.collateral()))
    (problem,) = endorsements.refresh(AT)
    assert problem.reason is Reason.TDX_TCB_INFO_SIGNATURE
    assert endorsements.collateral(NEEDED, AT) == good


def test_a_half_written_bundle_leaves_the_last_good_one_in_use_until_it_is_whole(folder: Path) -> None:
    endorsements = source(folder)
    raw = LATER.collateral()
    (folder / "tdx/tcb_info.json").write_bytes(raw.tcb_info[:100])
    (problem,) = endorsements.refresh(LATER.at)
    assert problem.reason is Reason.JSON_MALFORMED
    assert endorsements.collateral(NEEDED, LATER.at).tcb_info.validity.not_before == VENDOR.issued
    write_bundle(folder / "tdx", raw)
    assert endorsements.refresh(LATER.at) == ()
    assert endorsements.collateral(NEEDED, LATER.at).tcb_info.validity.not_before == LATER.issued


def test_what_is_deleted_stays_in_use_until_its_next_update(folder: Path) -> None:
    endorsements = source(folder)
    shutil.rmtree(folder / "tdx")
    assert endorsements.refresh(AT) == ()
    endorsements.collateral(NEEDED, VENDOR.next_update)
    endorsements.refresh(VENDOR.next_update)
    endorsements.collateral(NEEDED, VENDOR.next_update)
    after = VENDOR.next_update + timedelta(seconds=1)
    refusal = missing(endorsements, NEEDED, after)
    assert "tdx.tcb_info_expired" in refusal.found
    (folder / "tdx").mkdir()
    write_bundle(folder / "sgx", VENDOR.collateral("sgx"))
    endorsements.refresh(after)
    assert "the TCB Info" in missing(endorsements, NEEDED, after).wanted


def test_a_vanished_folder_is_reported_and_what_is_known_stays(folder: Path) -> None:
    endorsements = source(folder)
    folder.rename(folder.with_name("away"))
    (problem,) = endorsements.refresh(AT)
    assert problem.reason is Reason.ENDORSEMENTS_FILE
    endorsements.collateral(NEEDED, AT)
    folder.with_name("away").rename(folder)
    assert endorsements.refresh(AT) == ()


def test_what_has_expired_alone_is_named_alone(folder: Path) -> None:
    end = AT + timedelta(days=1)
    short = VENDOR.qe_identity(lambda document: document.update(nextUpdate=timestamp(end)))
    write_bundle(folder / "tdx", VENDOR.collateral(qe_identity=short))
    endorsements = source(folder)
    endorsements.collateral(NEEDED, end)
    after = end + timedelta(seconds=1)
    (folder / "tdx/tcb_info.json").touch()
    (problem,) = endorsements.refresh(after)
    assert (problem.file, problem.reason) == ("tdx", Reason.TDX_QE_IDENTITY_EXPIRED)
    assert missing(endorsements, NEEDED, after).wanted == "the QE Identity for TDX"


def test_an_unreadable_clock_is_no_excuse(folder: Path) -> None:
    before = VENDOR.issued - timedelta(seconds=1)
    assert "tdx.tcb_info_not_yet_valid" in missing(source(folder), NEEDED, before).found


def test_what_was_too_early_is_taken_when_its_time_comes(folder: Path) -> None:
    early = VENDOR.issued - timedelta(seconds=1)
    endorsements = source(folder, early)
    assert [problem.file for problem in endorsements.refresh(early)] == ["tdx"]
    assert endorsements.refresh(VENDOR.issued) == ()
    endorsements.collateral(NEEDED, VENDOR.issued)


def test_newer_collateral_is_taken_up(folder: Path) -> None:
    endorsements = source(folder)
    before = endorsements.collateral(NEEDED, AT)
    write_bundle(folder / "newer", LATER.collateral())
    assert endorsements.refresh(LATER.at) == ()
    after = endorsements.collateral(NEEDED, LATER.at)
    assert after == authenticate_collateral(LATER.collateral(), ANCHORS, LATER.at)
    # A verification that had begun keeps what it began with.
    assert before == authenticate_collateral(VENDOR.collateral(), ANCHORS, AT)


@pytest.mark.parametrize("name", ["tdx", "aaa", "zzz"])
def test_older_collateral_never_replaces_newer(tmp_path: Path, name: str) -> None:
    write_bundle(tmp_path / "tdx", LATER.collateral())
    endorsements = source(tmp_path, LATER.at)
    write_bundle(tmp_path / name, VENDOR.collateral())
    assert endorsements.refresh(LATER.at) == ()
    assert endorsements.collateral(NEEDED, LATER.at).tcb_info.validity.not_before == LATER.issued


def test_a_higher_evaluation_number_goes_before_a_later_date(tmp_path: Path) -> None:
    write_bundle(tmp_path / "a", numbered(VENDOR, 21))
    write_bundle(tmp_path / "b", numbered(LATER, 20))
    collateral = source(tmp_path, LATER.at).collateral(NEEDED, LATER.at)
    assert collateral.tcb_info.evaluation_data_number == 21
    # The others have no such number between them: the later one is newer.
    assert collateral.qe_identity.validity.not_before == LATER.issued


def test_revocations_of_one_bundle_count_for_every_platform(folder: Path) -> None:
    endorsements = source(folder)
    serial_number = 0xBAD
    newer = replace(of_fmspc(OTHER, LATER), pck_crl=LATER.pck_crl([serial_number]))
    write_bundle(folder / "other", newer)
    assert endorsements.refresh(LATER.at) == ()
    collateral = endorsements.collateral(NEEDED, LATER.at)
    assert collateral.tcb_info.validity.not_before == VENDOR.issued
    assert collateral.pck_crl.revoked == {serial_number}


def test_both_cas_are_served_where_both_crls_are_known(folder: Path) -> None:
    write_bundle(folder / "other", of_fmspc(OTHER, ca=PckCa.PROCESSOR))
    endorsements = source(folder)
    found = {
        (fmspc, ca): endorsements.collateral(Requirement("tdx", fmspc, ca), AT)
        for fmspc in (FMSPC, OTHER)
        for ca in PckCa
    }
    assert {(collateral.fmspc, collateral.pck_ca) for collateral in found.values()} == found.keys()
    assert len(endorsements.held()) == 4


def test_a_revoked_signer_leaves_nothing_of_what_it_signed(folder: Path) -> None:
    endorsements = source(folder)
    endorsements.collateral(NEEDED, LATER.at)
    renewed = LATER.reissue("tcb_signing", key=p256_key("attestd", "renewed"))
    revoking = renewed.root_ca_crl([VENDOR.tcb_signing.serial_number])
    write_bundle(folder / "other", replace(of_fmspc(OTHER, renewed), root_ca_crl=revoking))
    problems = endorsements.refresh(LATER.at)
    assert [problem.reason for problem in problems] == [Reason.TDX_TCB_SIGNING_REVOKED]
    missing(endorsements, NEEDED, LATER.at)
    endorsements.collateral(Requirement("tdx", OTHER, PckCa.PLATFORM), LATER.at)


def test_marks_say_how_new_each_document_is() -> None:
    collateral = authenticate_collateral(VENDOR.collateral(), ANCHORS, AT)
    assert high_water(collateral) == (
        HighWater("tcb_info", f"tdx:{FMSPC.hex()}", 20, VENDOR.issued),
        HighWater("qe_identity", "tdx", 20, VENDOR.issued),
        HighWater("root_crl", "root", collateral.root_crl.number, VENDOR.issued),
        HighWater("pck_crl", "platform", collateral.pck_crl.number, VENDOR.issued),
    )


def test_marks_are_ordered_by_number_then_time() -> None:
    day = datetime(2026, 1, 1, tzinfo=UTC)
    marks = [HighWater("pck_crl", "platform", *rest) for rest in ((1, day), (1, day + timedelta(days=1)), (2, day))]
    assert sorted(marks) == marks


def test_lookups_see_one_state_while_others_refresh(folder: Path) -> None:
    endorsements = source(folder)
    write_bundle(folder / "tdx", LATER.collateral())
    genuine = {authenticate_collateral(vendor.collateral(), ANCHORS, LATER.at).digests for vendor in (VENDOR, LATER)}
    threads = [threading.Thread(target=endorsements.refresh, args=(LATER.at,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    seen = {endorsements.collateral(NEEDED, LATER.at).digests for _ in range(200)}
    for thread in threads:
        thread.join()
    seen.add(endorsements.collateral(NEEDED, LATER.at).digests)
    assert seen <= genuine
    assert endorsements.refresh(LATER.at) == ()


# ---------------------------------------------------------------------------------------------------------------------
# AMD's

AMD = AmdVendor.of()
ARK = Certificate(AMD.ark.der)
VCEK = SnpAttester.of(AMD)
MIRRORED = f"vcek/{VCEK.chip.hwid.hex()}/bl10_tee00_snp27_ucode84_vcek.der"


def amd_crl(number: int = 4, at: datetime = AT) -> bytes:
    return AmdVendor.of(at=at).crl(edit=lambda form: form.numbered(number))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    put(tmp_path, MIRRORED, VCEK.vek.der)
    put(tmp_path, "cert_chain.pem", pem(AMD.ask.der, AMD.ark.der))
    put(tmp_path, "crl.der", amd_crl())
    return tmp_path


def put(folder: Path, name: str, raw: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    return path


def both(folder: Path, at: datetime = AT) -> Endorsements:
    return FolderEndorsements(folder, TrustAnchors.load([VENDOR.root.der, AMD.ark.der]), at)


def counts(snp: SnpEndorsements) -> tuple[int, int, list[int]]:
    return len(snp.issuers), len(snp.veks), [crl.number for crl in snp.crls.values()]


def test_amd_s_documents_are_authenticated_and_found(store: Path) -> None:
    write_bundle(store / "tdx", VENDOR.collateral())
    endorsements = both(store)
    assert (endorsements.refresh(AT), counts(endorsements.snp())) == ((), (1, 1, [4]))
    (held,) = endorsements.snp().veks[VCEK.chip.hwid]
    assert held.der == VCEK.vek.der
    assert len(endorsements.held()) == 1
    # Nothing is made again while nothing changes.
    assert endorsements.snp() is endorsements.snp()


def test_folder_without_amd_s(folder: Path) -> None:
    assert source(folder).snp() == SnpEndorsements()


def test_each_file_of_amd_s_is_refused_by_itself(store: Path) -> None:
    put(store, "mallory/ask.pem", pem(AmdVendor.of(seed="mallory").ask.der))
    put(store, "mallory/crl.der", b"no CRL")
    endorsements = both(store)
    assert [(problem.file, problem.reason) for problem in endorsements.refresh(AT)] == [
        ("mallory/ask.pem", Reason.SNP_VEK_CHAIN),
        ("mallory/crl.der", Reason.SNP_CRL_MALFORMED),
    ]
    assert counts(endorsements.snp()) == (1, 1, [4])


def test_linked_file_of_amd_s_is_reported(store: Path) -> None:
    (store / "crl.der").rename(store / "elsewhere")
    (store / "crl.der").symlink_to(store / "elsewhere")
    endorsements = both(store)
    assert [(problem.file, problem.reason) for problem in endorsements.refresh(AT)] == [
        ("crl.der", Reason.ENDORSEMENTS_FILE)
    ]
    assert counts(endorsements.snp()) == (1, 1, [])


def test_a_worse_folder_leaves_what_was_good(store: Path) -> None:
    endorsements = both(store)
    known = endorsements.snp()
    put(store, "cert_chain.pem", b"-----BEGIN CERTIFICATE-----\nhalf a do")
    (store / MIRRORED).unlink()
    (store / "crl.der").unlink()
    assert [problem.file for problem in endorsements.refresh(AT)] == ["cert_chain.pem"]
    assert endorsements.snp() == known
    put(store, "cert_chain.pem", pem(AMD.ask.der))
    assert endorsements.refresh(AT) == ()
    assert endorsements.snp() == known


def test_older_crl_never_replaces_a_newer_one(store: Path) -> None:
    later = AT + timedelta(days=2)
    put(store, "crl.der", amd_crl(5, later))
    endorsements = both(store, later)
    put(store, "crl.der", amd_crl(4))
    assert (endorsements.refresh(later), counts(endorsements.snp())) == ((), (1, 1, [5]))
    put(store, "aaa_crl.der", amd_crl(6, later))
    assert (endorsements.refresh(later), counts(endorsements.snp())) == ((), (1, 1, [6]))


def test_crl_of_amd_s_is_not_forgotten_when_it_expires(store: Path) -> None:
    endorsements = both(store)
    expired = endorsements.snp().crls[ARK].validity.not_after + timedelta(seconds=1)
    (store / "crl.der").touch()
    assert [problem.reason for problem in endorsements.refresh(expired)] == [Reason.SNP_CRL_EXPIRED]
    assert counts(endorsements.snp()) == (1, 1, [4])


def test_marks_of_amd_s_crl(store: Path) -> None:
    (crl,) = both(store).snp().crls.values()
    assert crl_newness(ARK, crl) == HighWater("ark_crl", "ARK-Genoa", 4, AMD.issued)


# ---------------------------------------------------------------------------------------------------------------------
# NVIDIA's

GPU = GpuAttester.of(NvidiaVendor.of())
RENEWED = GpuAttester.of(NvidiaVendor.of(at=AT + timedelta(days=1)))
RIMS = {f"{rim_id}.swidtag": raw for rim_id, raw in GPU.rims().items()}


@pytest.fixture
def rims(store: Path) -> Path:
    for name, raw in RIMS.items():
        put(store, f"nvidia/{name}", raw)
    put(store, "nvidia/brom.ocsp", GPU.ocsp("brom"))
    put(store, "nvidia/rim_signer.ocsp", GPU.ocsp("rim_signer"))
    return store


def all_three(folder: Path, at: datetime = AT) -> Endorsements:
    roots = (VENDOR.root, AMD.ark, GPU.vendor.root, GPU.vendor.rim_root)
    return FolderEndorsements(folder, TrustAnchors.load([root.der for root in roots]), at)


def rim_digests(gpu: GpuEndorsements) -> set[bytes]:
    return {rim.sha256 for rim in gpu.manifests.values()}


def test_nvidia_s_documents_are_authenticated_and_found(rims: Path) -> None:
    write_bundle(rims / "tdx", VENDOR.collateral())
    endorsements = all_three(rims)
    assert (endorsements.refresh(AT), counts(endorsements.snp())) == ((), (1, 1, [4]))
    assert rim_digests(endorsements.gpu()) == {sha256(raw).digest() for raw in RIMS.values()}
    assert len(endorsements.gpu().answers) == 2
    assert len(endorsements.held()) == 1
    assert endorsements.gpu() is endorsements.gpu()


def test_folder_without_nvidia_s(store: Path) -> None:
    assert both(store).gpu() == GpuEndorsements()


def test_each_file_of_nvidia_s_is_refused_by_itself(rims: Path) -> None:
    mallory = GpuAttester.of(NvidiaVendor.of(seed="mallory"))
    put(rims, "nvidia/a.swidtag", mallory.rim("driver"))
    put(rims, "nvidia/b_rim.json", b"{}")
    put(rims, "nvidia/c.ocsp", b"no answer")
    endorsements = all_three(rims)
    assert [(problem.file, problem.reason) for problem in endorsements.refresh(AT)] == [
        ("nvidia/a.swidtag", Reason.GPU_RIM_UNTRUSTED_ROOT),
        ("nvidia/b_rim.json", Reason.GPU_RIM_MALFORMED),
        ("nvidia/c.ocsp", Reason.GPU_OCSP_MALFORMED),
    ]
    assert rim_digests(endorsements.gpu()) == {sha256(raw).digest() for raw in RIMS.values()}


def test_what_is_gone_of_nvidia_s_is_held_on_to_and_never_gets_older(rims: Path) -> None:
    endorsements = all_three(rims)
    known = endorsements.gpu()
    renewed = put(rims, "nvidia/aaa.swidtag", RENEWED.rim("driver"))
    assert endorsements.refresh(AT) == ()
    newest = rim_digests(endorsements.gpu())
    assert sha256(RENEWED.rim("driver")).digest() in newest
    renewed.unlink()
    (rims / "nvidia/brom.ocsp").unlink()
    assert endorsements.refresh(AT) == ()
    assert (rim_digests(endorsements.gpu()), endorsements.gpu().answers) == (newest, known.answers)


def test_marks_of_a_rim(rims: Path) -> None:
    marks = {rim_newness(rim) for rim in all_three(rims).gpu().manifests.values()}
    begins = GPU.vendor.rim_signer.form.not_before
    assert marks == {
        HighWater("gpu_rim", f"driver_GH100_{GPU.gpu.driver_version}", 0, begins),
        HighWater("gpu_rim", f"vbios_GH100_{GPU.gpu.vbios_version}", 0, begins),
    }
