"""Proofs for system.narrow_path: a folder that torch's store finds, in any language."""

from __future__ import annotations

import codecs
import pathlib
from collections.abc import Generator
from datetime import timedelta
from typing import Any

import pytest
import torch.distributed as torch_dist
from helpers.like_windows import sitecustomize as windows
from helpers.running import HAS_WINDOWS_RULES

from distrinews.dist import process_group
from distrinews.errors import SetupError
from distrinews.system import files, narrow_path

pytestmark = pytest.mark.skipif(
    HAS_WINDOWS_RULES, reason="these proofs set the code page, and it is set already"
)


@pytest.fixture
def code_page_1252(monkeypatch: pytest.MonkeyPatch) -> Generator[None, None, None]:
    """The codec that Windows has, and a store that reads its path by it."""
    codecs.register(windows.code_page)
    # torch exports its stores at run time only.
    narrow: Any = windows.narrow(torch_dist.FileStore)  # type: ignore[attr-defined]
    monkeypatch.setattr(torch_dist, "FileStore", narrow)
    yield
    codecs.unregister(windows.code_page)


def meet_in(folder: pathlib.Path) -> list[str]:
    """One rank alone opens its store; what then lies in the folder."""
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(process_group.STORE_VARIABLE, str(folder / "store"))
        store = process_group._rendezvous_store(0, 1, timedelta(seconds=5))
    found = [path.name for path in folder.iterdir()]
    del store  # and with it the file
    return found


@pytest.mark.usefixtures("code_page_1252")
def test_the_store_lies_in_a_folder_with_umlauts(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "Jörg"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    folder = narrow_path.new_folder_name("distrinews-")
    assert folder.parent == temporary
    assert meet_in(folder) == ["store"]


@pytest.mark.usefixtures("code_page_1252")
def test_as_python_passes_a_path_the_store_is_not_found(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: the imitation is one that UTF-8 fails in."""
    monkeypatch.setattr(narrow_path, "encode", lambda path: path)
    folder = tmp_path / "Jörg"
    folder.mkdir()
    with pytest.raises(RuntimeError, match="No such file or directory"):
        meet_in(folder)


@pytest.mark.usefixtures("code_page_1252")
def test_letters_that_the_code_page_lacks_lead_to_a_shared_folder(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary, public = tmp_path / "Łukasz", tmp_path / "Public"
    temporary.mkdir()
    public.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setenv("PUBLIC", str(public))
    folder = narrow_path.new_folder_name("distrinews-")
    assert folder.parent == public
    assert meet_in(folder) == ["store"]
    monkeypatch.delenv("PUBLIC")
    monkeypatch.delenv("PROGRAMDATA", raising=False)
    with pytest.raises(SetupError, match=r"'Ł' is not in .*\n(.*\n)+.*TEMP"):
        narrow_path.new_folder_name("distrinews-")


@pytest.mark.usefixtures("code_page_1252")
def test_a_folder_that_must_not_be_written_to_leads_to_the_next(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = {name: tmp_path / name for name in ("Łukasz", "PUBLIC", "PROGRAMDATA")}
    for name, folder in folders.items():
        folder.mkdir()
        monkeypatch.setenv(name, str(folder))
    monkeypatch.setattr("tempfile.tempdir", str(folders["Łukasz"]))
    before = files.check_writable

    def refuse_public(folder: pathlib.Path) -> None:
        if folder == folders["PUBLIC"]:
            raise PermissionError(13, "Access is denied")
        before(folder)

    assert narrow_path.new_folder_name("x-").parent == folders["PUBLIC"]  # control
    monkeypatch.setattr(files, "check_writable", refuse_public)
    assert narrow_path.new_folder_name("x-").parent == folders["PROGRAMDATA"]
    assert [path for folder in folders.values() for path in folder.iterdir()] == []


def test_torchs_store_takes_bytes(tmp_path: pathlib.Path) -> None:
    path: Any = str(tmp_path / "Jörg").encode()
    store = torch_dist.FileStore(path, 1)  # type: ignore[attr-defined]
    assert [file.name for file in tmp_path.iterdir()] == ["Jörg"]
    del store


def test_without_windows_codec_every_folder_will_do(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "Łukasz"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    folder = narrow_path.new_folder_name("distrinews-")
    assert folder.parent == temporary
    assert meet_in(folder) == ["store"]
