import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from attestd.endorsements import disk as disk_module
from attestd.endorsements import read_file, read_folder, write_bundle
from attestd.endorsements.bundle import MAX_FILE_SIZE
from attestd.endorsements.disk import fingerprint
from attestd.errors import Malformed, Reason
from attestd.simulator.vendor import Vendor

OWN = frozenset({os.geteuid()})


def put(path: Path, raw: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    path.write_bytes(raw)
    path.chmod(0o644)
    return path


def test_documents_are_read_at_every_level(tmp_path: Path) -> None:
    put(tmp_path / "tcb_info.json", b"1")
    put(tmp_path / "a/collateral/pck_crl.der", b"2")
    put(tmp_path / "a/expected.json")
    assert read_folder(tmp_path, OWN).files == {"tcb_info.json": b"1", "a/collateral/pck_crl.der": b"2"}
    assert read_folder(tmp_path, OWN).problems == ()


def test_hidden_and_too_deep_files_are_left_out(tmp_path: Path) -> None:
    put(tmp_path / ".tcb_info.json.partial")
    put(tmp_path / ".incoming/tcb_info.json")
    put(tmp_path / "1/2/3/4/tcb_info.json", b"deep enough")
    put(tmp_path / "1/2/3/4/5/tcb_info.json")
    assert read_folder(tmp_path).files == {"1/2/3/4/tcb_info.json": b"deep enough"}


def test_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_folder(tmp_path / "none")


def link(path: Path) -> None:
    path.symlink_to(put(path.parent / "elsewhere", b"{}"))


def dangling_link(path: Path) -> None:
    path.symlink_to("/nowhere")


def too_large(path: Path) -> None:
    put(path)
    os.truncate(path, MAX_FILE_SIZE + 1)


def writable_by_all(path: Path) -> None:
    put(path).chmod(0o646)


def writable_by_group(path: Path) -> None:
    put(path).chmod(0o664)


def in_a_folder_writable_by_all(path: Path) -> None:
    put(path).parent.chmod(0o777)


@pytest.mark.parametrize(
    "make",
    [
        link,
        dangling_link,
        os.mkfifo,
        too_large,
        writable_by_all,
        writable_by_group,
        in_a_folder_writable_by_all,
    ],
)
def test_unsafe_file_is_refused_and_the_others_are_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    put(tmp_path / "good/tcb_info.json", b"good")
    (tmp_path / "bad").mkdir(mode=0o755)
    make(tmp_path / "bad/pck_crl.der")
    reading = read_folder(tmp_path, OWN)
    assert reading.files == {"good/tcb_info.json": b"good"}
    (problem,) = reading.problems
    assert problem.file == "bad/pck_crl.der"
    assert problem.reason is Reason.ENDORSEMENTS_FILE


def test_file_of_another_user_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "tcb_info.json")
    foreign = frozenset({os.geteuid() + 1})
    (problem,) = read_folder(tmp_path, foreign).problems
    assert problem.reason is Reason.ENDORSEMENTS_FILE
    assert f"user {os.geteuid()}" in str(problem)
    assert read_folder(tmp_path).files == {"tcb_info.json": b"x"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_file_that_was_given_away_is_refused(tmp_path: Path) -> None:
    os.chown(put(tmp_path / "tcb_info.json"), 12345, -1)
    (problem,) = read_folder(tmp_path, OWN).problems
    assert "user 12345" in str(problem)


def test_folder_that_cannot_be_read_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "locked/tcb_info.json")
    put(tmp_path / "open/tcb_info.json")
    genuine = os.open

    def refuse(path: object, *arguments: int, **options: int) -> int:
        if path == "locked":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return genuine(str(path), *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    reading = read_folder(tmp_path)
    assert list(reading.files) == ["open/tcb_info.json"]
    assert [(problem.file, problem.reason) for problem in reading.problems] == [("locked", Reason.ENDORSEMENTS_FILE)]
    assert "permission denied" in str(reading.problems[0])


def test_file_that_vanishes_meanwhile_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "a/tcb_info.json")
    put(tmp_path / "b/tcb_info.json")
    genuine = disk_module.entries

    def removing(top: Path) -> Iterator[disk_module.Entry]:
        for entry in genuine(top):
            if entry.path.startswith("a/"):
                (top / entry.path).unlink()
            yield entry

    monkeypatch.setattr(disk_module, "entries", removing)
    assert {path for path, *_ in fingerprint(tmp_path)} == {"b/tcb_info.json"}


def test_linked_folder_is_not_followed(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere/tcb_info.json")
    top = tmp_path / "top"
    top.mkdir()
    (top / "linked").symlink_to(tmp_path / "elsewhere")
    assert read_folder(top).files == {}


@pytest.mark.parametrize(("name", "most"), [("MAX_FILES", 1), ("MAX_TOTAL_SIZE", 0)])
def test_number_and_sum_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, most: int) -> None:
    put(tmp_path / "a/tcb_info.json")
    put(tmp_path / "b/tcb_info.json")
    monkeypatch.setattr(disk_module, name, most)
    reading = read_folder(tmp_path)
    assert list(reading.files) == ["a/tcb_info.json"]
    assert [(problem.file, problem.reason) for problem in reading.problems] == [
        ("b/tcb_info.json", Reason.ENDORSEMENTS_FILE)
    ]


def test_named_file_may_be_a_link_but_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(put(tmp_path / "file", b"1234"))
    assert read_file(tmp_path / "link", 4) == b"1234"
    with pytest.raises(Malformed) as refusal:
        read_file(tmp_path / "link", 3)
    assert refusal.value.reason is Reason.ENDORSEMENTS_FILE


def replaced(path: Path) -> None:
    status = path.stat()
    put(path.with_name("new"), path.read_bytes()).replace(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def rewritten_in_place(path: Path) -> None:
    status = path.stat()
    path.write_bytes(b"y")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def removed(path: Path) -> None:
    path.unlink()


def joined(path: Path) -> None:
    put(path.with_name("pck_crl.der"))


@pytest.mark.parametrize("change", [replaced, rewritten_in_place, removed, joined])
def test_fingerprint_shows_every_change(tmp_path: Path, change: Callable[[Path], None]) -> None:
    path = put(tmp_path / "a/tcb_info.json")
    before = fingerprint(tmp_path)
    assert fingerprint(tmp_path) == before
    put(tmp_path / "a/expected.json")
    assert fingerprint(tmp_path) == before
    change(path)
    assert fingerprint(tmp_path) != before


def test_written_bundle_is_read_again(tmp_path: Path) -> None:
    raw = Vendor.of().collateral()
    write_bundle(tmp_path / "tdx", raw)
    write_bundle(tmp_path / "tdx", raw)
    reading = read_folder(tmp_path, OWN)
    assert reading.problems == ()
    assert reading.files["tdx/root_ca_crl.der"] == raw.root_ca_crl
    assert len(reading.files) == 7
    assert sorted(path.name for path in (tmp_path / "tdx").iterdir()) == sorted(
        name.removeprefix("tdx/") for name in reading.files
    )


def test_writing_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "tdx").mkdir(mode=0o755)
    (tmp_path / "tdx/.tcb_info.json.partial").symlink_to(put(tmp_path / "precious", b"precious"))
    (tmp_path / "tdx/pck_crl.der").symlink_to(tmp_path / "precious")
    write_bundle(tmp_path / "tdx", Vendor.of().collateral())
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert read_folder(tmp_path, OWN).problems == ()
