import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from attestd.endorsements import archive as archive_module
from attestd.endorsements import read_archive
from attestd.endorsements.bundle import MAX_FILE_SIZE, MAX_TOTAL_SIZE
from attestd.errors import Malformed, Reason

FILES = {
    "platform/collateral/tcb_info.json": b"{}",
    "platform/collateral/pck_crl.der": b"0",
    "platform/quote.bin": b"q",
}
DOCUMENTS = {name: raw for name, raw in FILES.items() if "collateral" in name}


def zipped(files: dict[str, bytes] = FILES, *infos: zipfile.ZipInfo, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, raw in files.items():
            archive.writestr(name, raw)
        for info in infos:
            archive.writestr(info, b"/etc/passwd")
    return buffer.getvalue()


def tarred(files: dict[str, bytes] = FILES, *infos: tarfile.TarInfo, mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, raw in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
        for info in infos:
            archive.addfile(info)
    return buffer.getvalue()


def special(kind: bytes, name: str = "platform/root_ca_crl.der") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = "/etc/passwd"
    return info


def moded(mode: int, name: str = "platform/root_ca_crl.der") -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def folder_entries() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.mkdir("platform")
        for name, raw in FILES.items():
            archive.writestr(name, raw)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "raw",
    [
        zipped(),
        zipped(compression=zipfile.ZIP_STORED),
        folder_entries(),
        tarred(),
        tarred(FILES, special(tarfile.DIRTYPE, "platform/empty")),
        tarred(mode="w:gz"),
        # A folder that has the name of a document is no document.
        tarred(FILES, special(tarfile.DIRTYPE, "platform/tcb_info.json")),
    ],
)
def test_documents_are_read(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "archive").write_bytes(raw)
    assert read_archive(tmp_path / "archive") == DOCUMENTS


def encrypted() -> bytes:
    raw = bytearray(zipped())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        position = raw.index(signature)
        raw[position + offset] |= 1
    return bytes(raw)


def doubled_zip() -> bytes:
    with pytest.warns(UserWarning, match="Duplicate"):
        return zipped(FILES, moded(0o100644, "platform/quote.bin"))


def lying_about_its_size() -> bytes:
    raw = bytearray(zipped({"tcb_info.json": b"{}"}, compression=zipfile.ZIP_STORED))
    position = raw.index(b"PK\x01\x02")
    struct.pack_into("<II", raw, position + 20, 1, 1)
    return bytes(raw)


REFUSED: dict[str, Callable[[], bytes]] = {
    "zip link": lambda: zipped(FILES, moded(0o120777)),
    "zip link that is no document": lambda: zipped(FILES, moded(0o120777, "platform/other")),
    "zip device": lambda: zipped(FILES, moded(0o020666)),
    "zip climbing path": lambda: zipped({"../tcb_info.json": b""}),
    "zip climbing path in the middle": lambda: zipped({"a/../../tcb_info.json": b""}),
    "zip absolute path": lambda: zipped({"/tcb_info.json": b""}),
    "zip backslash": lambda: zipped({"..\\tcb_info.json": b""}),
    "zip one path twice": doubled_zip,
    "zip one path in two spellings": lambda: zipped({"a/tcb_info.json": b"1", "a//tcb_info.json": b"2"}),
    "zip encrypted": encrypted,
    "zip other compression": lambda: zipped(compression=zipfile.ZIP_LZMA),
    "zip bomb": lambda: zipped({"tcb_info.json": bytes(MAX_FILE_SIZE + 1)}),
    "zip wrong size": lying_about_its_size,
    "zip without directory": lambda: zipped()[:-30],
    "zip too deep": lambda: zipped({"1/2/3/4/5/tcb_info.json": b""}),
    "tar link": lambda: tarred(FILES, special(tarfile.SYMTYPE)),
    "tar link that is no document": lambda: tarred(FILES, special(tarfile.SYMTYPE, "other")),
    "tar hard link": lambda: tarred(FILES, special(tarfile.LNKTYPE)),
    "tar device": lambda: tarred(FILES, special(tarfile.CHRTYPE)),
    "tar pipe": lambda: tarred(FILES, special(tarfile.FIFOTYPE)),
    "tar climbing path": lambda: tarred({"../tcb_info.json": b""}),
    "tar absolute path": lambda: tarred({"/tcb_info.json": b""}),
    "tar one path twice": lambda: tarred(FILES, special(tarfile.REGTYPE, "platform/quote.bin")),
    "tar large member": lambda: tarred({"tcb_info.json": bytes(MAX_FILE_SIZE + 1)}),
    "tar cut": lambda: tarred()[:700],
    "gzip bomb": lambda: gzip.compress(bytes(MAX_TOTAL_SIZE + 1)),
    "gzip cut": lambda: tarred(mode="w:gz")[:-10],
    "gzip damaged": lambda: tarred(mode="w:gz")[:-8] + bytes(8),
    "xz": lambda: tarred(mode="w:xz"),
    "no archive": lambda: b"hello",
    "empty": lambda: b"",
}


@pytest.mark.parametrize("case", REFUSED)
def test_unsafe_archive_is_refused_as_a_whole(tmp_path: Path, case: str) -> None:
    (tmp_path / "archive").write_bytes(REFUSED[case]())
    with pytest.raises(Malformed) as refusal:
        read_archive(tmp_path / "archive")
    assert refusal.value.reason is Reason.ENDORSEMENTS_ARCHIVE


def test_bomb_of_many_small_members_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "MAX_TOTAL_SIZE", 1000)
    (tmp_path / "archive").write_bytes(zipped({f"{n}/tcb_info.json": bytes(100) for n in range(11)}))
    with pytest.raises(Malformed) as refusal:
        read_archive(tmp_path / "archive")
    assert refusal.value.reason is Reason.ENDORSEMENTS_ARCHIVE


@pytest.mark.parametrize("make", [zipped, tarred])
def test_number_of_members_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[], bytes]
) -> None:
    (tmp_path / "archive").write_bytes(make())
    monkeypatch.setattr(archive_module, "MAX_MEMBERS", 3)
    assert read_archive(tmp_path / "archive") == DOCUMENTS
    monkeypatch.setattr(archive_module, "MAX_MEMBERS", 2)
    with pytest.raises(Malformed) as refusal:
        read_archive(tmp_path / "archive")
    assert refusal.value.reason is Reason.ENDORSEMENTS_ARCHIVE


def test_archive_itself_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "archive").write_bytes(zipped())
    monkeypatch.setattr(archive_module, "MAX_ARCHIVE_SIZE", 100)
    with pytest.raises(Malformed) as refusal:
        read_archive(tmp_path / "archive")
    assert refusal.value.reason is Reason.ENDORSEMENTS_FILE


def test_missing_archive_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_archive(tmp_path / "none")
