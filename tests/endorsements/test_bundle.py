import pytest

from attestd.endorsements import Bundle, amd_documents, bundles_in, nvidia_documents
from attestd.endorsements.bundle import document_name, file_name
from attestd.errors import Malformed, Reason, Unavailable

DOCUMENTS = {
    "tcb_info": b"1",
    "tcb_info_issuer_chain": b"2",
    "qe_identity": b"3",
    "qe_identity_issuer_chain": b"4",
    "root_ca_crl": b"5",
    "pck_crl": b"6",
    "pck_crl_issuer_chain": b"7",
}


def test_files_are_grouped_by_folder() -> None:
    files = {
        "a/collateral/tcb_info.json": b"1",
        "a/collateral/pck_crl.der": b"2",
        "b/tcb_info.json": b"3",
        "qe_identity.json": b"4",
    }
    assert bundles_in(files) == (
        Bundle("a/collateral", {"tcb_info": b"1", "pck_crl": b"2"}),
        Bundle("b", {"tcb_info": b"3"}),
        Bundle(".", {"qe_identity": b"4"}),
    )


def test_other_files_make_no_bundle() -> None:
    assert bundles_in({"expected.json": b"{}", "a/quote.bin": b"", "a/TCB_INFO.JSON": b""}) == ()


@pytest.mark.parametrize("suffix", ["der", "pem", "hex", "crl"])
def test_crl_may_have_any_suffix_of_a_crl(suffix: str) -> None:
    assert document_name(f"x/root_ca_crl.{suffix}") == "root_ca_crl"
    assert document_name(f"x/tcb_info.{suffix}") is None


@pytest.mark.parametrize("document", DOCUMENTS)
def test_file_name_is_understood_again(document: str) -> None:
    assert document_name(file_name(document)) == document


@pytest.mark.parametrize(
    "path",
    [
        "vcek.der",
        "genoa/vlek.crt",
        "milan_ask.pem",
        "genoa-asvk.cer",
        "ark.pem",
        "vlek_cert_chain.pem",
        "crl.crl",
        f"vcek/{'ab' * 64}/bl03_tee00_snp08_ucode115_vcek.der",
        "vcek/0011223344556677/bl03_tee02_snp05_ucode97_fmc01_vcek.der",
    ],
)
def test_amd_s_documents_are_known_by_how_their_names_end(path: str) -> None:
    assert document_name(path) == "amd"
    assert amd_documents({path: b"1", "pck_crl.der": b"2"}) == {path: b"1"}
    assert bundles_in({path: b"1"}) == ()


@pytest.mark.parametrize(
    "path", ["vcek", "xvcek.der", "vcek.der.bak", "vcek.bin", "crl.hex", "task.pem", "VCEK.der", ""]
)
def test_other_names_are_not_amd_s(path: str) -> None:
    assert document_name(path) is None


@pytest.mark.parametrize(
    "path",
    [
        "NV_GPU_DRIVER_GH100_550.144.03.xml",
        "NV_GPU_VBIOS_1010_0200_882_96005E0001.json",
        "1010_0200_882_96005E0001_PROD.swidtag",
        "h100/switchVBIOSRim_NV_SWITCH_BIOS_5612_0002_890_9610550001.xml",
        "driver_rim.json",
        "RIM.xml",
        "nvidia/0123456789abcdef_2f.ocsp",
        "brom.ors",
    ],
)
def test_nvidia_s_documents_are_known_by_their_names(path: str) -> None:
    assert document_name(path) == "nvidia"
    assert nvidia_documents({path: b"1", "pck_crl.der": b"2", "vcek.der": b"3"}) == {path: b"1"}
    assert (bundles_in({path: b"1"}), amd_documents({path: b"1"})) == ((), {})


@pytest.mark.parametrize(
    "path", ["swidtag", "x.SWIDTAG", "rim.txt", "x.xml", "expected.json", "rim/evidence.json", "x.ocsp.bak", "xNV_.xml"]
)
def test_other_names_are_not_nvidia_s(path: str) -> None:
    assert document_name(path) is None


def test_one_document_under_two_names_is_refused() -> None:
    with pytest.raises(Malformed) as refusal:
        bundles_in({"a/pck_crl.der": b"1", "a/pck_crl.pem": b"1"})
    assert refusal.value.reason is Reason.ENDORSEMENTS_FILE
    assert "pck_crl" in refusal.value.found


def test_complete_bundle_is_raw_collateral() -> None:
    raw = Bundle(".", DOCUMENTS).raw()
    assert {name: getattr(raw, name) for name in DOCUMENTS} == DOCUMENTS


@pytest.mark.parametrize("document", DOCUMENTS)
def test_missing_document_is_named(document: str) -> None:
    rest = {name: raw for name, raw in DOCUMENTS.items() if name != document}
    with pytest.raises(Unavailable) as refusal:
        Bundle(".", rest).raw()
    assert refusal.value.reason is Reason.TDX_ENDORSEMENTS_MISSING
    assert refusal.value.wanted == file_name(document)
    assert refusal.value.found == "6 of 7 documents"
