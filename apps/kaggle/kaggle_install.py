"""Install the library on Kaggle and leave Kaggle's torch as it is.

Promise: torch is the same before and after, or there is an error.

Not here: running the commands (`kaggle_desk`).

Guide: howto/kaggle.
"""

from __future__ import annotations

import importlib.metadata
import tomllib
from collections.abc import Callable, Iterable

from kaggle_desk import Desk

__all__ = ["install", "missing", "torch_version"]

# What the proofs need beside the library; pytest's own settings name pytest-timeout.
FOR_PROOFS = ("pytest>=8.3", "pytest-timeout>=2.3")


def torch_version() -> str:
    """Say which torch is installed, without loading it.

    Returns:
        The version.

    Raises:
        RuntimeError: There is none.
    """
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        raise RuntimeError(
            "this machine has no torch; on Kaggle it comes with the image."
        ) from None


def missing(requirements: Iterable[str], *, version: Callable[[str], str]) -> list[str]:
    """Say which packages have to be installed; torch never is.

    Args:
        requirements: As in pyproject.toml.
        version: Name -> installed version; raises PackageNotFoundError for none.

    Returns:
        The requirements of those that are not there, or too old or too new.

    Raises:
        RuntimeError: torch does not fit. Replacing it would give one that does not fit
            the machine's GPUs.
    """
    from packaging.requirements import Requirement

    needed = []
    for text in requirements:
        wanted = Requirement(text)
        try:
            have = version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            have = None
        if have is not None and wanted.specifier.contains(have, prereleases=True):
            continue
        if wanted.name == "torch":
            raise RuntimeError(
                f"torch is {have}, the library needs {wanted.specifier}. This notebook "
                "does not replace it: choose the newest image under Settings, "
                "Environment."
            )
        needed.append(text)
    return needed


def install(desk: Desk, *, run: Callable[..., object] | None = None) -> list[str]:
    """Install the library and what it lacks, and leave torch as it is.

    Args:
        desk: Where the checkout is.
        run: Runs a command; by default `desk.run`.

    Returns:
        What was missing.

    Raises:
        RuntimeError: torch does not fit, or is another one afterwards.
    """
    run = run or desk.run
    before = torch_version()
    told = tomllib.loads((desk.checkout / "pyproject.toml").read_text("utf-8"))
    needed = missing(
        [*told["project"]["dependencies"], "matplotlib>=3.8", *FOR_PROOFS],
        version=importlib.metadata.version,
    )
    pip = ("python", "-m", "pip", "install", "--quiet")
    if needed:
        # WHY: what is missing may want another torch. Then pip fails, and says so.
        stays = desk.work / "torch_stays.txt"
        stays.write_text(f"torch=={before}\n", encoding="utf-8")
        run(*pip, "--constraint", stays, *needed)
    # WHY --no-deps: pip would look at the requirements once more, and settle them anew.
    run(*pip, "--no-deps", "--editable", desk.checkout)
    after = torch_version()
    if after != before:
        raise RuntimeError(
            f"torch was {before} and is {after} now: start a fresh session."
        )
    return needed
