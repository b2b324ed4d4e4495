"""Proofs for the imitation of Windows: what it refuses is what Windows refuses."""

from __future__ import annotations

import mmap
import os
import pathlib
import signal
import subprocess
import sys
import types

import conftest
import docs_site
import pytest
from helpers.running import like_windows

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="it imitates on Linux")

HOLDS = {
    "a file that is open": "held = open('a')",
    "a file that is mapped": "import mmap; file = open('a', 'r+b'); "
    "held = mmap.mmap(file.fileno(), 0); file.close()",
}
TOUCHES = {
    "remove": "os.remove('a')",
    "rename": "os.rename('a', 'b')",
    "replace": "pathlib.Path('c').write_bytes(b'new'); os.replace('c', 'a')",
}


def run(code: str, folder: pathlib.Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", f"import os, pathlib\n{code}"],
        cwd=folder,
        env={**os.environ, **like_windows()},
        capture_output=True,
        timeout=60,
        check=False,
    )


@linux_only
@pytest.mark.parametrize("hold", HOLDS.values(), ids=HOLDS)
@pytest.mark.parametrize("touch", TOUCHES.values(), ids=TOUCHES)
def test_what_is_in_use_can_be_neither_removed_nor_renamed(
    hold: str, touch: str, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "a").write_bytes(bytes(mmap.PAGESIZE))
    done = run(f"{hold}\n{touch}", tmp_path)
    assert b"imitated WinError 32" in done.stderr
    assert len((tmp_path / "a").read_bytes()) == mmap.PAGESIZE
    # Negative control: once it is closed, it can be.
    done = run(f"{hold}\nheld.close()\n{touch}", tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")


@linux_only
def test_texts_are_cp1252_with_crlf_and_signals_are_missing(
    tmp_path: pathlib.Path,
) -> None:
    done = run(
        "import signal\n"
        "with open('a', 'w') as file: file.write('ö\\n')\n"
        "print(hasattr(signal, 'pthread_sigmask'), hasattr(os, 'set_blocking'))\n"
        "print('ö'.encode('mbcs'), os.getppid() == os.getppid())",
        tmp_path,
    )
    assert done.stdout == b"False False\r\nb'\\xf6' True\r\n", done.stderr
    assert (tmp_path / "a").read_bytes() == b"\xf6\r\n"


def test_where_nothing_can_end_one_test_alone_it_may_take_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def limit_s(given: float | None) -> float | None:
        config = types.SimpleNamespace(option=types.SimpleNamespace(timeout=given))
        conftest.pytest_configure(config)  # type: ignore[arg-type]
        limit: float | None = config.option.timeout
        return limit

    if hasattr(signal, "SIGALRM"):
        assert limit_s(None) is None  # negative control: pyproject.toml's counts
    monkeypatch.delattr(signal, "SIGALRM", raising=False)
    assert limit_s(None) == conftest.TIMEOUT_WITHOUT_ALARM_S
    assert limit_s(5) == 5  # what somebody asks for counts


def test_the_guides_builder_reads_what_a_child_with_a_code_page_writes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")
    code = "print('Jörg')"
    # Negative control: left alone, a child writes bytes that are no UTF-8.
    alone = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True
    )
    assert alone.stdout.split() == ["Jörg".encode("cp1252")]
    assert docs_site._run("-c", code).stdout == "Jörg\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lacks", "call", "guard"),
    [
        ("win32", "os.killpg(1, 9)", 'sys.platform != "win32"'),
        ("darwin", "os.sched_getaffinity(0)", 'sys.platform == "linux"'),
        ("win32", "os.posix_fallocate(1, 0, 1)", 'hasattr(os, "posix_fallocate")'),
    ],
)
def test_mypy_finds_a_call_that_another_system_lacks(
    lacks: str, call: str, guard: str, tmp_path: pathlib.Path
) -> None:
    """Negative control to the two runs of mypy for other platforms in .ci/run."""
    program = tmp_path / "program.py"

    def findings(code: str, platform: str) -> str:
        program.write_text(f"import os, sys\n{code}\n", encoding="utf-8")
        done = subprocess.run(
            [*(sys.executable, "-m", "mypy", "--config-file", os.devnull)]
            + ["--platform", platform, "--cache-dir", str(tmp_path), str(program)],
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        return done.stdout

    name = call[3 : call.index("(")]
    assert f'Module has no attribute "{name}"' in findings(call, lacks)
    assert "Success" in findings(call, "linux")
    assert "Success" in findings(f"if {guard}: {call}", lacks)
