import json
import shutil
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from attestd.claims import ProductLine
from attestd.cli.inputs import bundles, gpu_endorsements, snp_endorsements
from attestd.codec import dump_time
from attestd.endorsements import FolderEndorsements, write_bundle
from attestd.errors import Reason
from attestd.nvgpu.ocsp_answer import parse_answer
from attestd.simulator import (
    AT,
    CHIPS,
    GENOA,
    TURIN,
    AmdVendor,
    GpuAttester,
    NvidiaVendor,
    SnpAttester,
    Vendor,
    pem,
)
from attestd.simulator.gpu_attester import AskedRole
from attestd.snp.collateral import SnpEndorsements
from attestd.x509 import TrustAnchors
from tests.cli.conftest import Files
from tests.refusals import rejected

Run = Callable[..., tuple[int, Any]]
Terminal = Callable[..., tuple[int, str]]

LATER = Vendor.of(at=AT + timedelta(days=2))


def bring(files: Files, source: Path, to: Path | None = None, at: str | None = None) -> list[object]:
    target = files.folder / "store" if to is None else to
    return ["endorsements", "import", source, "--to", target, *_common(files, at)]


def listing(files: Files, folder: Path, at: str | None = None) -> list[object]:
    return ["endorsements", "list", folder, *_common(files, at)]


def _common(files: Files, at: str | None) -> tuple[object, ...]:
    return "--trust-anchors", files.roots, "--at", at or files.at


def test_import_of_a_folder(attestd: Run, files: Files) -> None:
    status, shown = attestd(*bring(files, files.collateral))
    fmspc = files.attester.platform.fmspc.hex()
    assert status == 0
    assert shown == {
        "at": files.at,
        "bundles": [
            {
                "folder": f"tdx-{fmspc}-platform",
                "outcome": "ok",
                "tee": "tdx",
                "fmspc": fmspc,
                "pck_ca": "platform",
                "tcb_evaluation_data_number": 20,
                "valid_from": dump_time(files.vendor.issued),
                "valid_until": dump_time(files.vendor.next_update),
            }
        ],
        "amd": [],
        "nvidia": [],
    }
    written = files.folder / "store" / f"tdx-{fmspc}-platform"
    assert {path.name: path.read_bytes() for path in written.iterdir()} == {
        path.name: path.read_bytes() for path in files.collateral.iterdir()
    }


def test_service_takes_what_was_imported(attestd: Run, files: Files) -> None:
    write_bundle(files.folder / "more/sgx", files.vendor.collateral("sgx"))
    assert attestd(*bring(files, files.collateral))[0] == 0
    assert attestd(*bring(files, files.folder / "more"))[0] == 0
    anchors = TrustAnchors.load([files.vendor.root.der])
    source = FolderEndorsements(files.folder / "store", anchors, AT)
    assert source.refresh(AT) == ()
    assert sorted(collateral.tee for collateral in source.held()) == ["sgx", "tdx"]


def test_import_of_an_archive(attestd: Run, files: Files) -> None:
    for kind in ("zip", "gztar"):
        archive = Path(shutil.make_archive(str(files.folder / kind), kind, files.folder, "collateral"))
        status, shown = attestd(*bring(files, archive, files.folder / f"store-{kind}"))
        assert (status, shown["bundles"][0]["outcome"]) == (0, "ok")


def test_import_of_an_unsafe_archive(attestd: Run, files: Files) -> None:
    archive = files.put("bad.tar.gz", b"\x1f\x8b")
    status, complaint = attestd(*bring(files, archive))
    assert status == 2
    assert "[endorsements.archive]" in complaint
    assert not (files.folder / "store").exists()


def test_what_is_not_authentic_is_not_written(attestd: Run, files: Files) -> None:
    source = files.folder / "source"
    write_bundle(source / "forged", Vendor.of(seed="mallory").collateral())
    write_bundle(source / "good", files.vendor.collateral())
    (source / "partial").mkdir()
    (source / "partial/tcb_info.json").write_bytes(b"{}")
    status, shown = attestd(*bring(files, source))
    assert status == 4
    assert [(bundle["folder"], bundle.get("reason")) for bundle in shown["bundles"]] == [
        ("forged", "tdx.untrusted_root"),
        (f"tdx-{files.attester.platform.fmspc.hex()}-platform", None),
        ("partial", "tdx.endorsements_missing"),
    ]
    assert len(list((files.folder / "store").iterdir())) == 1


def test_expired_collateral_is_refused(attestd: Run, files: Files) -> None:
    status, shown = attestd(*bring(files, files.collateral, at="2026-09-01T00:00:00Z"))
    assert (status, shown["bundles"][0]["reason"]) == (3, "tdx.root_crl_expired")


def test_nothing_to_import(attestd: Run, files: Files) -> None:
    (files.folder / "empty").mkdir()
    status, complaint = attestd(*bring(files, files.folder / "empty"))
    assert status == 4
    assert "[tdx.endorsements_missing]" in complaint


def test_newer_replaces_older_and_never_the_other_way_round(attestd: Run, files: Files) -> None:
    later = dump_time(LATER.at)
    write_bundle(files.folder / "newer", LATER.collateral())
    assert attestd(*bring(files, files.collateral))[0] == 0
    assert attestd(*bring(files, files.folder / "newer", at=later))[0] == 0
    assert attestd(*bring(files, files.folder / "newer", at=later))[0] == 0
    status, shown = attestd(*bring(files, files.collateral, at=later))
    assert (status, shown["bundles"][0]["reason"]) == (3, "tdx.collateral_rollback")
    (written,) = (files.folder / "store").iterdir()
    assert (written / "tcb_info.json").read_bytes() == LATER.tcb_info()


def test_what_is_no_use_is_replaced(attestd: Run, files: Files) -> None:
    target = files.folder / "store" / f"tdx-{files.attester.platform.fmspc.hex()}-platform"
    target.mkdir(parents=True)
    (target / "tcb_info.json").write_bytes(b"half a do")
    assert attestd(*bring(files, files.collateral))[0] == 0
    assert (target / "tcb_info.json").read_bytes() == files.vendor.tcb_info()


def test_list(attestd: Run, on_terminal: Terminal, files: Files) -> None:
    write_bundle(files.folder / "more/forged", Vendor.of(seed="mallory").collateral())
    write_bundle(files.folder / "more/good", files.vendor.collateral())
    status, shown = attestd(*listing(files, files.folder / "more"))
    assert status == 3
    assert [bundle["outcome"] for bundle in shown["bundles"]] == ["refused", "ok"]
    status, text = on_terminal(*listing(files, files.folder / "more"))
    fmspc = files.attester.platform.fmspc.hex()
    assert any(line.split()[:5] == ["good", "ok", "tdx", fmspc, "platform"] for line in text.splitlines())
    assert any(line.startswith("forged: refused: ") for line in text.splitlines())


def test_missing_folder_is_misuse(attestd: Run, files: Files) -> None:
    status, complaint = attestd(*listing(files, files.folder / "tcb_info.json"))
    assert status == 1
    assert "No such file" in complaint


# ---------------------------------------------------------------------------------------------------------------------
# AMD's

AMD = {line: AmdVendor.of(line) for line in ProductLine}
VENDOR = AMD[ProductLine.GENOA]
VCEKS = {line: SnpAttester.of(AMD[line], chip).vek.der for line, chip in CHIPS.items()}
VLEK = SnpAttester.of(VENDOR, replace(GENOA, kind="vlek"))


@pytest.fixture
def amd(files: Files) -> Files:
    """Trust both vendors, and have what the KDS gives out for two product lines."""
    files.roots = files.folder / "roots"
    files.roots.mkdir()
    for number, root in enumerate((files.vendor.root.der, *(vendor.ark.der for vendor in AMD.values()))):
        (files.roots / f"{number}.der").write_bytes(root)
    source = files.folder / "kds"
    for line in (ProductLine.GENOA, ProductLine.TURIN):
        folder = source / line
        folder.mkdir(parents=True)
        (folder / "cert_chain.pem").write_bytes(pem(AMD[line].ask.der, AMD[line].ark.der))
        (folder / "crl.der").write_bytes(AMD[line].crl())
        (folder / "vcek.der").write_bytes(VCEKS[line])
    (source / "asvk.pem").write_bytes(pem(VENDOR.asvk.der))
    (source / "vlek.crt").write_bytes(VLEK.vek.der)
    return files


STORED = {
    "amd/genoa_20002_ask.der": VENDOR.ask.der,
    "amd/genoa_20101_asvk.der": VENDOR.asvk.der,
    "amd/genoa_crl.der": VENDOR.crl(),
    "amd/turin_30001_ask.der": AMD[ProductLine.TURIN].ask.der,
    "amd/turin_crl.der": AMD[ProductLine.TURIN].crl(),
    f"vcek/{GENOA.hwid.hex()}/bl10_tee00_snp27_ucode84_vcek.der": VCEKS[ProductLine.GENOA],
    f"vcek/{TURIN.hwid.hex()}/bl03_tee02_snp05_ucode97_fmc01_vcek.der": VCEKS[ProductLine.TURIN],
}


def stored(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_import_of_amd_s_documents(attestd: Run, amd: Files) -> None:
    status, shown = attestd(*bring(amd, amd.folder / "kds"))
    assert (status, shown["bundles"]) == (0, [])
    store = stored(amd.folder / "store")
    (vlek,) = store.keys() - STORED.keys()
    assert vlek.startswith("vlek/")
    assert store == {**STORED, vlek: VLEK.vek.der}
    assert sorted(row["file"] for row in shown["amd"]) == sorted(store)
    # What was imported can be imported again, and is what the service takes.
    assert attestd(*bring(amd, amd.folder / "store"))[0] == 0
    assert stored(amd.folder / "store") == store
    anchors = TrustAnchors.load(path.read_bytes() for path in amd.roots.iterdir())
    source = FolderEndorsements(amd.folder / "store", anchors, AT)
    assert source.refresh(AT) == ()
    assert (len(source.snp().issuers), len(source.snp().crls), len(source.snp().veks)) == (3, 2, 3)


def test_import_of_both_vendors_in_one_archive(attestd: Run, amd: Files) -> None:
    shutil.copytree(amd.collateral, amd.folder / "kds/intel")
    archive = Path(shutil.make_archive(str(amd.folder / "all"), "zip", amd.folder, "kds"))
    status, shown = attestd(*bring(amd, archive))
    assert (status, len(shown["bundles"]), len(shown["amd"])) == (0, 1, 8)


def test_import_of_one_document(attestd: Run, amd: Files) -> None:
    status, shown = attestd(*bring(amd, amd.folder / "kds/Genoa/crl.der"))
    assert (status, [row["file"] for row in shown["amd"]]) == (0, ["amd/genoa_crl.der"])
    status, complaint = attestd(*bring(amd, amd.put("crl.bin", VENDOR.crl())))
    assert status == 2
    assert "[endorsements.file]" in complaint


def test_newer_crl_replaces_older_and_never_the_other_way_round(attestd: Run, amd: Files) -> None:
    older, newer = VENDOR.crl(), VENDOR.crl(edit=lambda form: form.numbered(5))
    target = amd.folder / "store/amd/genoa_crl.der"
    for raw in (older, newer, newer):
        assert attestd(*bring(amd, amd.put("crl.der", raw)))[0] == 0
        assert target.read_bytes() == raw
    status, shown = attestd(*bring(amd, amd.put("crl.der", older)))
    (row,) = shown["amd"]
    assert (status, row["file"], row["outcome"]) == (3, "amd/genoa_crl.der", "refused")
    assert row["reason"] == "snp.crl_rollback"
    assert "5 of" in row["detail"]
    assert target.read_bytes() == newer
    # What is no use is replaced.
    target.write_bytes(b"half a CRL")
    assert attestd(*bring(amd, amd.put("crl.der", older)))[0] == 0
    assert target.read_bytes() == older


def test_what_is_not_authentic_of_amd_s_is_not_written(attestd: Run, amd: Files) -> None:
    mallory = AmdVendor.of(seed="mallory")
    source = amd.folder / "kds/Genoa"
    (source / "cert_chain.pem").write_bytes(pem(mallory.ask.der))
    status, shown = attestd(*bring(amd, source))
    assert status == 4
    assert [(row["file"], row.get("reason")) for row in shown["amd"]] == [
        ("amd/genoa_crl.der", None),
        ("cert_chain.pem", "snp.vek_chain"),
        ("vcek.der", "snp.endorsements_missing"),
    ]
    assert list(stored(amd.folder / "store")) == ["amd/genoa_crl.der"]


def test_list_of_amd_s_documents(attestd: Run, on_terminal: Terminal, amd: Files) -> None:
    (amd.folder / "kds/crl.pem").write_bytes(b"no CRL")
    status, shown = attestd(*listing(amd, amd.folder / "kds"))
    assert status == 3
    rows = {row["file"]: row for row in shown["amd"]}
    assert rows["Genoa/cert_chain.pem"] == {
        "file": "Genoa/cert_chain.pem",
        "outcome": "ok",
        "kind": "ask",
        "product_line": "Genoa",
        "content": {"serial_number": "20002"},
        "valid_from": dump_time(VENDOR.ask.form.not_before),
        "valid_until": dump_time(VENDOR.ask.form.not_after),
    }
    assert (rows["asvk.pem"]["kind"], rows["asvk.pem"]["content"]) == ("asvk", {"serial_number": "20101"})
    assert (rows["Genoa/crl.der"]["kind"], rows["Genoa/crl.der"]["content"]) == (
        "crl",
        {"number": 4, "revoked": ["20001"]},
    )
    assert rows["Turin/vcek.der"]["content"] == {"hwid": TURIN.hwid.hex(), "tcb": TURIN.tcb._asdict()}
    assert (rows["vlek.crt"]["kind"], rows["vlek.crt"]["content"]["csp_id"]) == ("vlek", VLEK.chip.csp_id)
    assert (rows["crl.pem"]["outcome"], rows["crl.pem"]["reason"]) == ("refused", "snp.crl_malformed")
    status, text = on_terminal(*listing(amd, amd.folder / "kds"))
    lines = text.splitlines()
    assert any(line.split()[:6] == ["Genoa/crl.der", "ok", "crl", "Genoa", "number", "4,"] for line in lines)
    assert any(line.startswith("crl.pem: refused: ") for line in lines)


# ---------------------------------------------------------------------------------------------------------------------
# NVIDIA's

GPU = GpuAttester.of(NvidiaVendor.of())
RENEWED = GpuAttester.of(NvidiaVendor.of(at=AT + timedelta(days=1)))
DRIVER_FILE = f"nvidia/driver_GH100_{GPU.gpu.driver_version}.swidtag"
VBIOS_FILE = f"nvidia/vbios_GH100_{GPU.gpu.vbios_version}.swidtag"


def envelope(raw: bytes) -> bytes:
    answer = {"id": "x", "rim": b64encode(raw).decode(), "sha256": sha256(raw).hexdigest(), "rim_format": "TCG"}
    return json.dumps(answer).encode()


def ocsp_file(role: AskedRole) -> str:
    answer = parse_answer(GPU.ocsp(role))
    return f"nvidia/{answer.issuer_hashes[1][:8].hex()}_{answer.serial_number:x}.ocsp"


@pytest.fixture
def nvidia(files: Files) -> Files:
    """Trust NVIDIA's roots alone, and have what a GPU needs."""
    files.roots = files.folder / "roots"
    files.roots.mkdir()
    for number, root in enumerate((GPU.vendor.root, GPU.vendor.rim_root)):
        (files.roots / f"{number}.der").write_bytes(root.der)
    (files.folder / "nv").mkdir()
    files.put("nv/NV_GPU_DRIVER_GH100_1.json", envelope(GPU.rim("driver")))
    files.put("nv/vbios.swidtag", GPU.rim("vbios"))
    files.put("nv/brom.ocsp", GPU.ocsp("brom"))
    files.put("nv/signer.ocsp", GPU.ocsp("rim_signer"))
    return files


def test_import_of_nvidia_s_documents(attestd: Run, nvidia: Files) -> None:
    status, shown = attestd(*bring(nvidia, nvidia.folder / "nv"))
    assert (status, shown["bundles"], shown["amd"]) == (0, [], [])
    store = stored(nvidia.folder / "store")
    assert store == {
        DRIVER_FILE: GPU.rim("driver"),
        VBIOS_FILE: GPU.rim("vbios"),
        ocsp_file("brom"): GPU.ocsp("brom"),
        ocsp_file("rim_signer"): GPU.ocsp("rim_signer"),
    }
    assert sorted(row["file"] for row in shown["nvidia"]) == sorted(store)
    # What was imported can be imported again, and is what the service takes.
    assert attestd(*bring(nvidia, nvidia.folder / "store"))[0] == 0
    assert stored(nvidia.folder / "store") == store
    anchors = TrustAnchors.load(path.read_bytes() for path in nvidia.roots.iterdir())
    source = FolderEndorsements(nvidia.folder / "store", anchors, AT)
    assert source.refresh(AT) == ()
    assert (len(source.gpu().manifests), len(source.gpu().answers)) == (2, 2)


def test_newer_rim_replaces_older_and_never_the_other_way_round(attestd: Run, nvidia: Files) -> None:
    older, newer = GPU.rim("vbios"), RENEWED.rim("vbios")
    target = nvidia.folder / "store" / VBIOS_FILE
    for raw in (older, newer, newer):
        assert attestd(*bring(nvidia, nvidia.put("vbios.swidtag", raw)))[0] == 0
        assert target.read_bytes() == raw
    status, shown = attestd(*bring(nvidia, nvidia.put("vbios.swidtag", older)))
    (row,) = shown["nvidia"]
    assert (status, row["file"], row["reason"]) == (3, VBIOS_FILE, "gpu.rim_rollback")
    assert dump_time(RENEWED.vendor.rim_signer.form.not_before) in row["detail"]
    assert target.read_bytes() == newer
    # What is no use is replaced.
    for useless in (b"<half a RIM", GPU.rim("driver")):
        target.write_bytes(useless)
        assert attestd(*bring(nvidia, nvidia.put("vbios.swidtag", older)))[0] == 0
        assert target.read_bytes() == older


def test_later_answer_replaces_an_earlier_one_and_never_the_other_way_round(attestd: Run, nvidia: Files) -> None:
    earlier = GPU.responder("brom").answer(
        GPU.asked("brom")[0],
        edit=lambda form: form.single(lambda said: replace(said, this_update=AT - timedelta(hours=2))),
    )
    target = nvidia.folder / "store" / ocsp_file("brom")
    for raw in (earlier, GPU.ocsp("brom", "revoked")):
        assert attestd(*bring(nvidia, nvidia.put("brom.ocsp", raw)))[0] == 0
        assert target.read_bytes() == raw
    status, shown = attestd(*bring(nvidia, nvidia.put("brom.ocsp", earlier)))
    assert (status, [row["reason"] for row in shown["nvidia"]]) == (3, ["gpu.ocsp_rollback"])
    assert target.read_bytes() == GPU.ocsp("brom", "revoked")


def test_what_is_not_authentic_of_nvidia_s_is_not_written(attestd: Run, nvidia: Files) -> None:
    mallory = GpuAttester.of(NvidiaVendor.of(seed="mallory"))
    nvidia.put("nv/vbios.swidtag", mallory.rim("vbios"))
    status, shown = attestd(*bring(nvidia, nvidia.folder / "nv"))
    assert status == 3
    assert [(row["file"], row["reason"]) for row in shown["nvidia"] if row["outcome"] == "refused"] == [
        ("vbios.swidtag", "gpu.rim_untrusted_root")
    ]
    assert set(stored(nvidia.folder / "store")) == {DRIVER_FILE, ocsp_file("brom"), ocsp_file("rim_signer")}


def test_list_of_nvidia_s_documents(attestd: Run, on_terminal: Terminal, nvidia: Files) -> None:
    nvidia.put("nv/bad_rim.xml", b"no RIM")
    status, shown = attestd(*listing(nvidia, nvidia.folder / "nv"))
    assert status == 3
    rows = {row["file"]: row for row in shown["nvidia"]}
    signer = GPU.vendor.rim_signer.form
    assert rows["vbios.swidtag"] == {
        "file": "vbios.swidtag",
        "outcome": "ok",
        "kind": "vbios",
        "content": {
            "product": "GH100",
            "version": GPU.gpu.vbios_version,
            "sha256": sha256(GPU.rim("vbios")).hexdigest(),
            "measurements": len(GPU.gpu.golden("vbios")),
        },
        "valid_from": dump_time(signer.not_before),
        "valid_until": dump_time(signer.not_after),
    }
    # Who answers about a device cannot be told without its certificates.
    assert (rows["signer.ocsp"]["outcome"], rows["brom.ocsp"]["outcome"]) == ("ok", "unproven")
    serial_number = f"{parse_answer(GPU.ocsp('brom')).serial_number:x}"
    assert rows["brom.ocsp"]["content"] == {"serial_number": serial_number, "status": "good"}
    assert rows["bad_rim.xml"]["reason"] == "gpu.ocsp_malformed"
    status, text = on_terminal(*listing(nvidia, nvidia.folder / "nv"))
    lines = text.splitlines()
    assert any(line.split()[:3] == ["brom.ocsp", "unproven", "ocsp"] for line in lines)
    assert any(line.startswith("bad_rim.xml: refused: ") for line in lines)


def test_files_of_nvidia_s_are_told_from_those_for_cpus(nvidia: Files) -> None:
    anchors = TrustAnchors.load(path.read_bytes() for path in nvidia.roots.iterdir())
    vbios, folder = nvidia.folder / "nv/vbios.swidtag", nvidia.folder / "nv"
    for paths, rims in (([vbios], 1), ([folder], 2), ([folder, vbios, nvidia.collateral], 2), ([], 0)):
        collected = gpu_endorsements(paths, anchors, AT)
        assert len(collected.endorsements.manifests) == rims
    crl = nvidia.put("crl.der", VENDOR.crl())
    assert gpu_endorsements([crl], anchors, AT).documents == ()
    assert (bundles([vbios]), snp_endorsements([vbios, folder], anchors, AT)) == ((), SnpEndorsements())


def test_what_is_named_must_be_of_use_and_what_a_folder_holds_need_not_be_of_this_time(nvidia: Files) -> None:
    anchors = TrustAnchors.load(path.read_bytes() for path in nvidia.roots.iterdir())
    vbios, folder = nvidia.folder / "nv/vbios.swidtag", nvidia.folder / "nv"
    after = GPU.vendor.rim_signer.form.not_after + timedelta(days=1)
    assert gpu_endorsements([folder], anchors, after).endorsements.manifests == {}
    with rejected(Reason.GPU_RIM_EXPIRED):
        gpu_endorsements([folder, vbios], anchors, after)
    nvidia.put("nv/bad.swidtag", b"<")
    with rejected(Reason.GPU_RIM_MALFORMED):
        gpu_endorsements([folder], anchors, AT)
