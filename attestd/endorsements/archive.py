"""Reading documents out of an archive: .zip, .tar or .tar.gz, in memory, with every member looked at before it is used.

An archive with one unsafe member is refused as a whole: nobody makes one by accident.
"""

import gzip
import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from stat import S_ISDIR, S_ISREG
from typing import Final, NoReturn

from attestd.endorsements.bundle import MAX_DEPTH, MAX_FILE_SIZE, MAX_TOTAL_SIZE, document_name
from attestd.endorsements.disk import read_file
from attestd.errors import Malformed, Reason

# Collateral compresses to about a quarter.
MAX_ARCHIVE_SIZE: Final = 16 * 1024 * 1024
# Evidence folders carry other files beside the documents.
MAX_MEMBERS: Final = 10_000

_ZIP_ENCRYPTED: Final = 0x1
_BROKEN: Final = (
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    UnicodeError,
    ValueError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_archive(path: Path) -> dict[str, bytes]:
    """Return the documents in an archive by their paths; other members are left out, but they must be safe as well.

    Refused are links and devices, absolute and climbing paths, one path twice, encryption, and more than the bounds of
    this module and of a folder. Raises `Malformed` (`endorsements.archive`, `endorsements.file`), and `OSError` where
    the archive cannot be read.
    """
    raw = read_file(path, MAX_ARCHIVE_SIZE)
    read = _zip_members if raw.startswith(b"PK") else _tar_members
    files: dict[str, bytes] = {}
    paths: set[str] = set()
    try:
        for name, content in read(raw):
            if name in paths:
                _refuse("one path twice", "each path once")
            paths.add(name)
            if content is not None:
                files[name] = content
    except _BROKEN:
        _refuse("an archive that is broken, encrypted or of another kind", ".zip, .tar or .tar.gz")
    return files


def _zip_members(raw: bytes) -> Iterator[tuple[str, bytes | None]]:
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        members = archive.infolist()
        _require_count(len(members))
        total = 0
        for member in members:
            name = _safe_path(member.filename)
            _require_regular(member)
            if document_name(name) is None or member.is_dir():
                yield name, None
                continue
            with archive.open(member) as file:
                content = file.read(MAX_FILE_SIZE + 1)
            total += len(content)
            _require_size(len(content), total)
            yield name, content


def _require_regular(member: zipfile.ZipInfo) -> None:
    mode = member.external_attr >> 16
    # Archives from systems without file modes have none.
    if not (S_ISREG(mode) or S_ISDIR(mode) or mode >> 12 == 0):
        _refuse("a link or a device", "regular files")
    # Other methods let the archive choose how much memory they take.
    if member.flag_bits & _ZIP_ENCRYPTED or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        _refuse("encryption or an unusual compression", "stored or deflated files")


def _tar_members(raw: bytes) -> Iterator[tuple[str, bytes | None]]:
    unpacked = _gunzip(raw) if raw.startswith(b"\x1f\x8b") else raw
    with tarfile.open(fileobj=io.BytesIO(unpacked), mode="r:") as archive:
        for count, member in enumerate(archive, start=1):
            _require_count(count)
            name = _safe_path(member.name)
            if not (member.isreg() or member.isdir()):
                _refuse("a link or a device", "regular files")
            file = archive.extractfile(member) if document_name(name) is not None else None
            if file is None:
                yield name, None
                continue
            _require_size(member.size, 0)  # the whole is bounded already
            yield name, file.read()


def _gunzip(raw: bytes) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(raw)) as stream:
        unpacked = stream.read(MAX_TOTAL_SIZE + 1)
    _require_size(0, len(unpacked))
    return unpacked


def _safe_path(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        _refuse("a path that leads out of the archive", "relative paths")
    # Parts that are no folder of a bundle are the root, the file, and those in between.
    if document_name(name) is not None and len(path.parts) > MAX_DEPTH + 1:
        _refuse(f"a file {len(path.parts)} levels deep", f"at most {MAX_DEPTH} folders")
    return str(path)


def _require_count(count: int) -> None:
    if count > MAX_MEMBERS:
        _refuse(f"more than {MAX_MEMBERS} members", f"at most {MAX_MEMBERS}")


def _require_size(size: int, total: int) -> None:
    if size > MAX_FILE_SIZE or total > MAX_TOTAL_SIZE:
        _refuse("too many bytes", f"at most {MAX_FILE_SIZE} a file and {MAX_TOTAL_SIZE} together")


def _refuse(found: str, wanted: str) -> NoReturn:
    raise Malformed(Reason.ENDORSEMENTS_ARCHIVE, found=found, wanted=wanted)
