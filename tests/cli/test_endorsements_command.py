import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from attestd.codec import dump_time
from attestd.endorsements import FolderEndorsements, write_bundle
from attestd.simulator import AT, Vendor
from attestd.x509 import TrustAnchors
from tests.cli.conftest import Files

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
