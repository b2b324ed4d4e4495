"""Make a folder that can be pushed to Hugging Face Spaces as it is.

Promise: the same input makes the same bytes; what the folder needs is in it or pinned
by it: the app's files, this library, the versions of other packages, and the model as a
commit of its repository with the SHA-256 of its weights. Nothing is left half-made.

Not here: pushing it (the guide), what runs in it (`apps/space/app.py`).

Guide: howto/space.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import shutil
from dataclasses import dataclass
from typing import Any

import space_files
import static_space
from space_files import HARDWARE, ROOT
from space_model import MANIFEST, MODEL_FOLDER, from_hub

import distrinews
from distrinews.errors import ModelError, SettingsError
from distrinews.inference.bundle import Bundle, open_bundle
from distrinews.system import files
from distrinews.system.manifest import MANIFEST as MODEL_MANIFEST

__all__ = ["STATIC", "Weights", "build", "build_static", "fetch", "make"]

STATIC = "static"
COMMIT = re.compile(r"[0-9a-f]{40}")
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Weights:
    """The model of a Space.

    Attributes:
        bundle: Its files, verified.
        repo_id: Its repository on the Hub; None: the files go into the folder.
        revision: The commit there.
    """

    bundle: Bundle
    repo_id: str | None
    revision: str | None


def make(arguments: argparse.Namespace) -> None:
    """Make the folder that the command line asks for, and say what to do with it.

    Args:
        arguments: `model`, `revision`, `out`, `hardware`, `vendor`.

    Raises:
        SettingsError: `vendor` without the static kind.
        DistriNewsError: As `fetch`, `build` and `build_static` say. There is no new
            folder then.
    """
    _check_free(arguments.out)
    is_static = arguments.hardware == STATIC
    if arguments.vendor and not is_static:
        raise SettingsError(
            f"--vendor --hardware {arguments.hardware}: a server needs no runtime for "
            "browsers.",
            why="only the static page computes in the browser.",
            fix=f"leave --vendor out, or --hardware {STATIC}",
            page="space",
        )
    weights = fetch(arguments.model, revision=arguments.revision)
    if is_static:
        build_static(arguments.out, weights=weights, vendor=arguments.vendor)
    else:
        build(arguments.out, weights=weights, hardware=arguments.hardware)
    num_bytes = sum(p.stat().st_size for p in arguments.out.rglob("*") if p.is_file())
    print(
        f"{arguments.out}: {num_bytes / 1e6:.1f} MB, "
        f"model {weights.bundle.identity.id}\n"
        f"now:  hf upload USER/SPACE {arguments.out} . --repo-type space\n"
        "more: site_docs/howto/space.md"
    )


def fetch(model: str, *, revision: str | None = None) -> Weights:
    """Find the model that a Space is to serve, and verify it.

    Args:
        model: A repository on the Hub (USER/NAME), or the folder of a run or an export.
        revision: The commit of the repository, 40 hexadecimal digits.

    Returns:
        The model. From the Hub's cache if it is there.

    Raises:
        SettingsError: A repository without a commit, or a folder with one.
        ModelError: It is no export, or a file of it is damaged.
        HubUnreachableError: It is not cached, and the Hub does not answer.
    """
    if pathlib.Path(model).is_dir():
        if revision is not None:
            raise SettingsError(
                f"--revision {revision}: {model} is a folder.",
                why="a folder has no revisions; its manifest says what it holds.",
                fix="leave --revision out.",
                page="space",
            )
        return Weights(open_bundle(model), None, None)
    if not REPOSITORY.fullmatch(model):
        raise ModelError(
            f"--model {model}: neither a folder nor a repository (USER/NAME).",
            why="a Space without a model answers nothing.",
            fix="--model runs/NAME, or --model USER/NAME --revision COMMIT",
            page="space",
        )
    if revision is None or not COMMIT.fullmatch(revision):
        raise SettingsError(
            f"--revision {revision}: {model} needs a commit, 40 hexadecimal digits.",
            why="a branch moves: one day the Space would answer with another model.",
            fix=f"hf models info {model} shows it as sha.",
            page="space",
        )
    return Weights(from_hub(model, revision), model, revision)


def build(out: pathlib.Path, *, weights: Weights, hardware: str) -> None:
    """Make the folder of a Space.

    Args:
        out: Where; must not exist.
        weights: The model.
        hardware: A name in `HARDWARE`.

    Raises:
        SettingsError: `out` exists, or `hardware` is unknown.
        SetupError: The library cannot be packed.
        OutputError: It could not be written.
    """
    _check_free(out)
    if hardware not in HARDWARE:
        raise SettingsError(
            f"--hardware {hardware}: unknown.",
            why="it decides which torch and which Python the Space gets.",
            fix=f"one of {', '.join(HARDWARE)}.",
            page="space",
        )
    own_files = _own_files(weights.bundle)
    with files.atomic_folder(out) as draft:
        space_files.unpack_library(draft)
        own = [ROOT / "apps/space" / name for name in ("app.py", "space_model.py")]
        for path in [*(ROOT / "apps").glob("*.py"), *own]:
            shutil.copyfile(path, draft / path.name)
        space_files.copy_page(draft / "page")
        shutil.copyfile(ROOT / "LICENSE", draft / "LICENSE")
        if weights.repo_id is None:
            (draft / MODEL_FOLDER).mkdir()
            for name in own_files:
                shutil.copyfile(
                    weights.bundle.folder / name, draft / MODEL_FOLDER / name
                )
        for name, text in (
            # WHY: who tries the folder here before pushing it leaves these behind.
            (".gitignore", "__pycache__/\n"),
            ("requirements.txt", space_files.requirements(hardware)),
            ("README.md", _front_page(weights, hardware)),
        ):
            (draft / name).write_text(text, encoding="utf-8", newline="\n")
        files.write_json(draft / MANIFEST, _manifest(draft, weights, hardware))


def build_static(out: pathlib.Path, *, weights: Weights, vendor: bool) -> None:
    """Make the folder of a Space that computes in the visitor's browser.

    Args:
        out: Where; must not exist.
        weights: The model; its int8 form goes into the folder.
        vendor: Put the browser's runtime into the folder, too.

    Raises:
        SettingsError: `out` exists.
        ModelError: Its int8 form cannot be made, or misses the recorded scores.
        SetupError: The runtime cannot be had.
        OutputError: It could not be written.
    """
    _check_free(out)
    with files.atomic_folder(out) as draft:
        static_space.fill(draft, weights.bundle, vendor=vendor)
        files.write_json(draft / MANIFEST, _manifest(draft, weights, STATIC))


def _check_free(out: pathlib.Path) -> None:
    if out.exists() or out.is_symlink():
        raise SettingsError(
            f"--out {out} exists.",
            why="a file left from an earlier run would be pushed, too.",
            fix=f"give another name, or delete {out} first.",
            page="space",
        )


def _own_files(bundle: Bundle) -> list[str]:
    """The files of an export, without what a first start may have put beside them."""
    return sorted([*bundle.digests, MODEL_MANIFEST])


def _front_page(weights: Weights, hardware: str) -> str:
    """README.md: what the platform reads, and what people read."""
    about, lines = f"in `{MODEL_FOLDER}/`, with its own card", ""
    if weights.repo_id is not None:
        repo_id, revision = weights.repo_id, weights.revision
        about = f"[{repo_id}](https://huggingface.co/{repo_id}/tree/{revision})"
        names = ",".join(_own_files(weights.bundle))
        lines = f"models:\n- {repo_id}\npreload_from_hub:\n"
        lines += f"- {repo_id} {names} {revision}\n"
    if "fancyzhx/ag_news" in str(weights.bundle.facts.get("data", "")):
        lines += "datasets:\n- fancyzhx/ag_news\n"
    labels = weights.bundle.labels
    return space_files.front_page(
        hardware, hub_lines=lines, model_line=about, labels=labels
    )


def _manifest(draft: pathlib.Path, weights: Weights, hardware: str) -> dict[str, Any]:
    """What the folder is made of, and which model it is for."""
    paths = sorted(path for path in draft.rglob("*") if path.is_file())
    return {
        "format": 1,
        "hardware": hardware,
        "distrinews": distrinews.__version__,
        "model": {
            "repo": weights.repo_id,
            "revision": weights.revision,
            "sha256": weights.bundle.identity.sha256,
            "files": _own_files(weights.bundle),
        },
        "files": {
            path.relative_to(draft).as_posix(): files.sha256(path) for path in paths
        },
    }
