"""Reading documents from a folder that other programs write to.

Nothing is followed and nothing is waited for: a symbolic link, a pipe or a file of another user's is refused, since
whoever may place one may choose what is read (attacks.md, C46). Names are resolved below the open folder, so that a
folder which is swapped while it is read cannot lead elsewhere.
"""

import os
import stat
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Final, NamedTuple

from attestd.endorsements.bundle import (
    MAX_DEPTH,
    MAX_FILE_SIZE,
    MAX_FILES,
    MAX_TOTAL_SIZE,
    Files,
    Problem,
    document_name,
    file_name,
    refused_file,
)
from attestd.errors import Malformed
from attestd.tdx.collateral import RawCollateral

_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Entry(NamedTuple):
    """A file that has the name of a document, below an open folder."""

    path: str  # from the top folder
    name: str
    folder: int  # open file descriptor


class Reading(NamedTuple):
    """What a folder holds: the files that could be read, and those that are refused."""

    files: dict[str, bytes]
    problems: tuple[Problem, ...]


def entries(top: Path, unreadable: Callable[[OSError], None] | None = None) -> Iterator[Entry]:
    """Find the documents in `top`, in the order of their paths; hidden names and all other files are left out.

    Folders that cannot be read are passed over, and passed to `unreadable`.
    """
    for folder, folders, names, descriptor in os.fwalk(top, onerror=unreadable, follow_symlinks=False):
        relative = Path(folder).relative_to(top)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if len(relative.parts) >= MAX_DEPTH:
            folders.clear()
        for name in sorted(names):
            if document_name(name) is not None:
                yield Entry((relative / name).as_posix(), name, descriptor)


def fingerprint(top: Path) -> frozenset[tuple[str, int, int, int, int]]:
    """Return what changes whenever a document is written, replaced, added or removed; nothing is read."""
    found = set()
    for entry in entries(top):
        with suppress(FileNotFoundError):  # removed meanwhile
            status = os.stat(entry.name, dir_fd=entry.folder, follow_symlinks=False)
            found.add((entry.path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    return frozenset(found)


def read_folder(top: Path, owners: AbstractSet[int] | None = None) -> Reading:
    """Read every document below `top`; with `owners`, only what belongs to one of these users alone.

    Raises `OSError` where `top` itself cannot be read.
    """
    files: dict[str, bytes] = {}
    problems: list[Problem] = []
    total = 0

    def unreadable(error: OSError) -> None:
        problems.append(Problem(str(error.filename), _unreadable(error, "a folder that can be read")))

    with os.scandir(top):  # os.fwalk would pass over it
        pass
    for entry in entries(top, unreadable):
        try:
            if len(files) == MAX_FILES or total > MAX_TOTAL_SIZE:
                raise refused_file("too many files", f"at most {MAX_FILES} of {MAX_TOTAL_SIZE} bytes together")
            if owners is not None:
                _require_owner(os.fstat(entry.folder), owners)
            files[entry.path] = raw = _read(entry.name, entry.folder, owners)
            total += len(raw)
        except Malformed as error:
            problems.append(Problem(entry.path, error))
        except OSError as error:
            problems.append(Problem(entry.path, _unreadable(error, "a regular file that can be read")))
    return Reading(files, tuple(problems))


def _unreadable(error: OSError, wanted: str) -> Malformed:
    return refused_file(os.strerror(error.errno or 0).lower(), wanted)


def read_file(path: Path, most: int = MAX_FILE_SIZE) -> bytes:
    """Read one file that the caller has named, links included.

    Raises `Malformed` (`endorsements.file`) beyond `most` bytes, `OSError` where it cannot be read.
    """
    with path.open("rb") as file:
        return _capped(file.read(most + 1), most)


def write_bundle(folder: Path, raw: RawCollateral) -> None:
    """Write the seven documents, as `write_files` does."""
    write_files(folder, {file_name(field.name): getattr(raw, field.name) for field in fields(raw)})


def write_files(folder: Path, files: Files) -> None:
    """Write files by their names, each of them at once and for good: a reader sees the old file or the new one."""
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    for name, raw in files.items():
        partial = folder / f".{name}.partial"
        partial.unlink(missing_ok=True)
        with partial.open("xb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        partial.chmod(0o644)
        partial.replace(folder / name)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(name: str, folder: int, owners: AbstractSet[int] | None) -> bytes:
    descriptor = os.open(name, _FLAGS, dir_fd=folder)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise refused_file("a file of another kind", "a regular file")
        if owners is not None:
            _require_owner(status, owners)
        return _capped(file.read(MAX_FILE_SIZE + 1), MAX_FILE_SIZE)


def _require_owner(status: os.stat_result, owners: AbstractSet[int]) -> None:
    if status.st_uid not in owners or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise refused_file(
            f"user {status.st_uid}, mode {stat.S_IMODE(status.st_mode):04o}",
            f"a file and a folder of user {' or '.join(map(str, sorted(owners)))} that others cannot write to",
        )


def _capped(raw: bytes, most: int) -> bytes:
    if len(raw) > most:
        raise refused_file(f"more than {most} bytes", f"at most {most} bytes")
    return raw
