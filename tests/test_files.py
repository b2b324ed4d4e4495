"""Proofs for system.files: complete or not at all, whatever happens in between."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from distrinews.errors import HubUnreachableError, OutputError
from distrinews.system import files

linux_root = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="mounting needs root on Linux"
)
posix_only = pytest.mark.skipif(
    sys.platform == "win32", reason="SIGKILL does not exist on Windows"
)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A folder with something in it, the old content."""
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (root / "file").write_text("old", "utf-8")
    (root / "folder" / "inside").write_text("old", "utf-8")
    return root


def assert_old(root: Path) -> None:
    everything = sorted(path.relative_to(root).as_posix() for path in root.rglob("*"))
    assert everything == ["file", "folder", "folder/inside"], "a draft was left behind"
    assert (root / "file").read_text("utf-8") == "old"
    assert (root / "folder" / "inside").read_text("utf-8") == "old"


def write_both(root: Path, *, then: BaseException | None = None) -> None:
    """Replace the file, then the folder; raise in the middle of each."""
    for kind in ("file", "folder"):
        with contextlib.suppress(*(() if then is None else (type(then),))):
            if kind == "file":
                with files.atomic_file(root / "file") as draft:
                    draft.write_text("new", "utf-8")
                    if then is not None:
                        raise then
            else:
                with files.atomic_folder(root / "folder") as draft:
                    (draft / "inside").write_text("new", "utf-8")
                    (draft / "more").mkdir()
                    (draft / "more" / "deep").write_text("new", "utf-8")
                    if then is not None:
                        raise then


def test_without_an_error_the_new_content_is_there_and_no_draft(old: Path) -> None:
    """Negative control for all that follows."""
    write_both(old)
    everything = sorted(path.relative_to(old).as_posix() for path in old.rglob("*"))
    assert everything == [
        *("file", "folder", "folder/inside", "folder/more", "folder/more/deep")
    ]
    assert (old / "file").read_text("utf-8") == "new"
    assert (old / "folder" / "inside").read_text("utf-8") == "new"


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt()])
def test_an_exception_in_the_middle_leaves_the_old_content(
    old: Path, error: BaseException
) -> None:
    write_both(old, then=error)
    assert_old(old)


KILL_ITSELF = """
import os, pathlib, signal, sys
from distrinews.system import files
root = pathlib.Path(sys.argv[1])
with files.atomic_file(root / "file") as draft:
    with files.atomic_folder(root / "folder") as into:
        draft.write_text("new")
        (into / "inside").write_text("new")
        os.kill(os.getpid(), signal.SIGKILL)
"""


@posix_only
def test_a_kill_in_the_middle_leaves_the_old_content(old: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILL_ITSELF, str(old)], check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    drafts = [path for path in old.iterdir() if path.name.startswith(".")]
    assert len(drafts) == 2, "it was not killed in the middle"
    for draft in drafts:  # nobody could clean up; their names say what they are
        shutil.rmtree(draft) if draft.is_dir() else draft.unlink()
    assert_old(old)


def test_a_failing_last_step_brings_the_old_folder_back(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worst moment: the old folder has been moved away, the new one not yet."""
    real = os.replace

    def fail_for_drafts(source: Path, target: Path) -> None:
        if target in (old / "folder", old / "file") and ".older" not in str(source):
            raise OSError(errno.EIO, "Input/output error")
        real(source, target)

    monkeypatch.setattr(os, "replace", fail_for_drafts)
    for atomic, path in (
        (files.atomic_file, old / "file"),
        (files.atomic_folder, old / "folder"),
    ):
        with pytest.raises(OutputError, match="Input/output error"), atomic(path) as d:
            (d / "inside" if d.is_dir() else d).write_text("new", "utf-8")
    assert_old(old)


# --- Full disks and other refusals ----------------------------------------------


@linux_root
def test_a_full_disk_is_an_output_error_and_the_old_content_stays(
    tmp_path: Path,
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk is not allowed here")
    try:
        root = disk / "root"
        (root / "folder").mkdir(parents=True)
        (root / "file").write_text("old", "utf-8")
        (root / "folder" / "inside").write_text("old", "utf-8")
        large = b"x" * 1_000_000
        with pytest.raises(OutputError, match=r"No space left[\s\S]*free some space"):
            with files.atomic_file(root / "file") as draft:
                draft.write_bytes(large)
        with pytest.raises(OutputError, match="No space left"):
            with files.atomic_folder(root / "folder") as draft:
                (draft / "inside").write_bytes(large)
        with pytest.raises(OutputError, match="could not be written"):
            with files.atomic_folder(root / "folder") as draft:
                save_file({"w": torch.zeros(250_000)}, draft / "w.safetensors")
        with pytest.raises(OutputError, match="No space left"):
            files.append_line(root / "log.jsonl", "x" * 1_000_000)
        (root / "log.jsonl").unlink()
        assert_old(root)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_what_the_system_refuses_is_an_output_error_with_its_words(
    old: Path, number: int
) -> None:
    words = os.strerror(number)
    for atomic in (files.atomic_file, files.atomic_folder):
        with pytest.raises(OutputError, match=words), atomic(old / "file"):
            raise OSError(number, words)
    assert_old(old)


class HeldByAnother(PermissionError):
    """What Windows answers while a virus scanner has a file open."""

    winerror = 32


def hold(times: int, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Refuse the next renames; the list gets the pauses between the tries."""
    pauses_s: list[float] = []
    replace, left = os.replace, iter([True] * times)

    def refuse(source: Path, target: Path) -> None:
        if next(left, False):
            raise HeldByAnother(errno.EACCES, "used by another process")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(files.time, "sleep", pauses_s.append)
    return pauses_s


def test_a_file_that_a_scanner_holds_for_ten_seconds_is_written_all_the_same(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses_s = hold(8, monkeypatch)
    files.write_json(old / "file", {})
    assert 10 < sum(pauses_s) < 20
    assert pauses_s == sorted(pauses_s)


def test_a_file_that_is_never_let_go_is_an_error_that_names_who_may_hold_it(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses_s = hold(100, monkeypatch)
    with pytest.raises(OutputError, match=r"(?s)within 16 s.*OneDrive.*--resume"):
        files.write_json(old / "file", {})
    assert 10 < sum(pauses_s) < 20
    assert_old(old)


def test_a_refusal_without_windows_number_is_told_at_once(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: nobody waits for a permission that will not come."""
    monkeypatch.delattr(HeldByAnother, "winerror")
    pauses_s = hold(100, monkeypatch)
    with pytest.raises(OutputError, match="free some space"):
        files.write_json(old / "file", {})
    assert pauses_s == []


def test_a_line_of_a_log_waits_for_a_scanner_too(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.time, "sleep", lambda _: None)
    open_file, tries = Path.open, iter([True])

    def refuse_once(path: Path, *rest: object, **options: object) -> object:
        if next(tries, False):
            raise HeldByAnother(errno.EACCES, "used by another process")
        return open_file(path, *rest, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refuse_once)
    files.append_line(old / "log", {"step": 1})
    assert (old / "log").read_text("utf-8") == '{"step": 1}\n'


@pytest.mark.parametrize("keep_existing", [True, False])
def test_a_cache_that_another_run_made_and_uses_is_kept(
    keep_existing: bool, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two first runs at once: on Windows what the other one maps cannot be replaced."""
    pauses_s = hold(100, monkeypatch)
    write = files.atomic_file(old / "file", keep_existing=keep_existing)
    if keep_existing:
        with write as draft:
            draft.write_text("the same content", "utf-8")
    else:  # negative control
        with pytest.raises(OutputError, match="OneDrive"), write as draft:
            draft.write_text("the same content", "utf-8")
    assert bool(pauses_s) != keep_existing
    assert_old(old)


def test_whether_a_folder_can_be_written_to_is_found_by_one_try(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Windows `tempfile` would try for hours (gh-66305)."""
    tries = []
    open_file = os.open

    def refuse(path: Path, flags: int, *rest: object) -> int:
        tries.append(path)
        raise PermissionError(errno.EACCES, "Access is denied")

    before = set(old.iterdir())
    files.check_writable(old)  # negative control: here it can be
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError):
        files.check_writable(old)
    monkeypatch.setattr(os, "open", open_file)
    assert len(tries) == 1
    assert set(old.iterdir()) == before


@pytest.mark.parametrize("is_known", [True, False])
def test_on_macos_a_file_is_flushed_out_of_the_drives_memory(
    is_known: bool, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl", reason="POSIX only")
    requests, flushed = [], []

    def request(handle: int, number: int) -> None:
        requests.append(number)
        if not is_known:  # a network drive
            raise OSError(errno.ENOTSUP, "not supported")

    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: flushed.append(fsync(handle)))
    files.write_json(old / "file", {})
    assert flushed  # negative control: elsewhere fsync is all there is
    flushed.clear()
    monkeypatch.setattr(fcntl, "fcntl", request)
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    files.write_json(old / "file", {})
    assert set(requests) == {51}
    assert bool(flushed) == (not is_known)


@posix_only
def test_a_folder_without_permission_is_an_output_error(old: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    old.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="Permission denied"):
            files.write_json(old / "file", {})
    finally:
        old.chmod(0o700)
    assert_old(old)


def test_a_file_where_a_folder_should_be_is_an_output_error(old: Path) -> None:
    for path in (old / "file" / "x", old / "file" / "deep" / "x"):
        with pytest.raises(OutputError, match="could not be written"):
            files.write_json(path, {})
        with pytest.raises(OutputError, match="could not be written"):
            with files.atomic_folder(path):
                pass
    with pytest.raises(OutputError, match="could not be written"):
        files.write_json(old / "folder", {})  # and the other way round
    assert_old(old)


def test_an_error_that_is_not_about_writing_keeps_its_own_name(old: Path) -> None:
    """A ConnectionError is an OSError too; it must not become "disk full"."""
    hub = HubUnreachableError("no hub.", why="why", fix="fix", page="hub")
    for error in (hub, ValueError("a bug"), KeyError("loss")):
        with pytest.raises(type(error)) as caught, files.atomic_file(old / "file"):
            raise error
        assert caught.value is error
    assert isinstance(hub, OSError)
    assert_old(old)


# --- Small ones -----------------------------------------------------------------


def test_json_and_logs_are_written_as_they_are_read(tmp_path: Path) -> None:
    value = {"текст": [1, 0.1 + 0.2, None, True], "b": "ä"}
    files.write_json(tmp_path / "new" / "value.json", value)
    text = (tmp_path / "new" / "value.json").read_text("utf-8")
    assert json.loads(text) == value
    assert "текст" in text
    for step in range(3):
        files.append_line(tmp_path / "log.jsonl", {"step": step})
    lines = (tmp_path / "log.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 1, 2]


def test_a_number_that_json_does_not_know_is_refused_and_nothing_written(
    tmp_path: Path,
) -> None:
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "value.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_the_fingerprint_is_the_files_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    # The example of FIPS 180-2, appendix B.1.
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files.sha256(tmp_path / "a") == known == hashlib.sha256(b"abc").hexdigest()


# --- After a kill ---------------------------------------------------------------


def test_a_kill_between_the_two_renames_loses_neither_folder(old: Path) -> None:
    """The moment is made by hand: the old folder has left, the new one is not there."""
    new = old / ".folder.0123abcd"
    new.mkdir()
    (new / "inside").write_text("new", "utf-8")
    (old / "folder").rename(old / ".folder.0123abcd.older")
    (old / ".file.89abcdef").write_text("half", "utf-8")
    files.remove_drafts(old)
    assert_old(old)


def test_after_both_renames_the_new_folder_counts(old: Path) -> None:
    (old / ".folder.0123abcd.older").mkdir()
    (old / ".folder.0123abcd.older" / "inside").write_text("older", "utf-8")
    files.remove_drafts(old)
    assert_old(old)


def test_files_that_no_writer_of_ours_left_stay(old: Path) -> None:
    """Negative control: it is the name of a draft that condemns a file."""
    for name in (".gitignore", ".folder.0123abcg", ".folder.012", ".0123abcd.older"):
        (old / name).write_text("mine", "utf-8")
    files.remove_drafts(old)
    assert len([path for path in old.iterdir() if path.name.startswith(".")]) == 4
    files.remove_drafts(old / "missing")


@posix_only
def test_a_removal_that_is_killed_leaves_no_half_folder_under_its_name(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: Path, **_: object) -> None:
        (Path(path) / "inside").unlink()  # the first file is gone ...
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        files.remove_folder(old / "folder")
    assert not (old / "folder").exists()
    monkeypatch.undo()
    files.remove_drafts(old)
    assert [path.name for path in old.iterdir()] == ["file"]


def test_a_removed_folder_is_gone(old: Path) -> None:
    files.remove_folder(old / "folder")
    assert [path.name for path in old.iterdir()] == ["file"]
    files.remove_folder(old / "folder")  # nothing there: nothing happens
