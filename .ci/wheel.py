#!/usr/bin/env python3
"""Build sdist and wheel, and use the wheel as somebody without a checkout does.

    python .ci/wheel.py                          what CI runs; needs build and twine
    python .ci/wheel.py --out dist --tag v1.2.3  what the release workflow runs

The wheel is made from the sdist, and must be the one that the checkout gives. It is
installed without extras in a fresh environment, where `use_wheel.py` runs in an empty
folder. Negative controls: a wheel that lacks a module, and one that lacks a data file,
must fail both the list of files and `use_wheel.py`.
"""

from __future__ import annotations

import argparse
import email
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
CHANGELOG = "site_docs/reference/changelog.md"
# What the negative controls take away, and the words by which its absence is noticed.
LOST = {
    "distrinews/sync/replicas.py": "distrinews.sync.replicas",
    "distrinews/doctor/troubles.json": "troubles.json",
}


def run(*command: str | pathlib.Path, cwd: pathlib.Path) -> str:
    """What a command prints, both streams; ends with it if the command fails."""
    done = attempt(*command, cwd=cwd)
    if done.returncode:
        sys.exit(f"failed: {' '.join(map(str, command))}\n{done.stdout}")
    return done.stdout


def attempt(
    *command: str | pathlib.Path, cwd: pathlib.Path
) -> subprocess.CompletedProcess[str]:
    """Run a command that does not see this checkout, nor the caller's models."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "DISTRINEWS_CACHE")
    environment = {k: v for k, v in os.environ.items() if k not in hidden}
    environment |= {"HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"}
    return subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=600,
        check=False,
    )


def tracked_files() -> list[str]:
    """Every file that git knows, relative to the checkout."""
    return run("git", "ls-files", "-z", cwd=ROOT).rstrip("\0").split("\0")


def content(archive: pathlib.Path) -> dict[str, bytes]:
    """Each file of a wheel or an sdist; an sdist's without its top folder."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as opened:
            return {name: opened.read(name) for name in opened.namelist()}
    with tarfile.open(archive) as opened:
        return {
            member.name.partition("/")[2]: file.read()
            for member in opened
            if (file := opened.extractfile(member))
        }


def differences(archive: pathlib.Path, *, tracked: list[str]) -> list[str]:
    """What an archive lacks of the library, and what it has beside it."""
    wanted = {name for name in tracked if name.startswith("distrinews/")}
    made = (".dist-info/", ".egg-info/")
    found = {name for name in content(archive) if not any(m in name for m in made)}
    if archive.suffix != ".whl":
        wanted |= {"LICENSE", "PKG-INFO", "README.md", "pyproject.toml", "setup.cfg"}
    return [
        *(f"{archive.name} lacks {name}" for name in sorted(wanted - found)),
        *(f"{archive.name} has {name}, too" for name in sorted(found - wanted)),
    ]


def without(wheel: pathlib.Path, name: str, *, folder: pathlib.Path) -> pathlib.Path:
    """A copy of a wheel that lacks one file."""
    folder.mkdir()
    with zipfile.ZipFile(folder / wheel.name, "w") as opened:
        for member, data in content(wheel).items():
            if member.endswith(".dist-info/RECORD"):
                lines = data.decode().splitlines(keepends=True)
                kept = (line for line in lines if not line.startswith(f"{name},"))
                opened.writestr(member, "".join(kept))
            elif member != name:
                opened.writestr(member, data)
    return folder / wheel.name


def build(work: pathlib.Path, *, tracked: list[str]) -> tuple[pathlib.Path, ...]:
    """Build sdist and wheel from the tracked files; check both."""
    # WHY a copy: building leaves `build/` behind, and a later wheel would take over
    # files from there that have left the checkout.
    source, built, direct = (work / name for name in ("source", "built", "direct"))
    # WHY without tests: setuptools would add tests/test*.py to the sdist, but none of
    # the helpers without which they cannot run.
    for name in (name for name in tracked if not name.startswith("tests/")):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, source / name)
    python = pathlib.Path(sys.executable)
    run(python, "-m", "build", "--outdir", built, source, cwd=work)
    run(python, "-m", "build", "--wheel", "--outdir", direct, source, cwd=work)
    [sdist], [wheel] = built.glob("*.tar.gz"), built.glob("*.whl")
    print(run(python, "-m", "twine", "check", "--strict", sdist, wheel, cwd=work))
    if content(wheel) != content(direct / wheel.name):
        sys.exit("the sdist builds another wheel than the checkout")
    for file in (sdist, wheel):
        if wrong := differences(file, tracked=tracked):
            sys.exit("\n".join(wrong))
        print(f"{file.name}: {len(content(file))} files, {file.stat().st_size:,} bytes")
    return sdist, wheel


def use(wheel: pathlib.Path, *, work: pathlib.Path, tracked: list[str]) -> None:
    """Install the wheel, use it; then the same with wheels that lack a file."""
    environment, folder = work / "environment", work / "elsewhere"
    venv.create(environment, with_pip=True)
    windows = sys.platform == "win32"
    python = environment / ("Scripts/python.exe" if windows else "bin/python")
    folder.mkdir()
    shutil.copy(ROOT / ".ci" / "use_wheel.py", folder)
    pip = (python, "-m", "pip", "install", "--quiet")
    run(*pip, "--constraint", ROOT / "constraints.txt", wheel, cwd=folder)
    run(python, "-m", "pip", "check", cwd=folder)
    print(run(python, "use_wheel.py", ROOT, cwd=folder))
    for number, (name, words) in enumerate(LOST.items()):
        broken = without(wheel, name, folder=work / f"broken-{number}")
        listed = differences(broken, tracked=tracked)
        run(*pip, "--no-deps", "--force-reinstall", broken, cwd=folder)
        used = attempt(python, "use_wheel.py", ROOT, cwd=folder)
        if listed != [f"{wheel.name} lacks {name}"]:
            sys.exit(f"nobody noticed in the list that {name} is not there: {listed}")
        if used.returncode == 0 or words not in used.stdout:
            sys.exit(f"nobody noticed in use that {name} is not there:\n{used.stdout}")
        print(f"a wheel without {name} is refused, by its list and in use")


def check_release(wheel: pathlib.Path, tag: str) -> None:
    """Refuse a release whose tag, version and changelog disagree, or without a home."""
    files = content(wheel)
    [metadata] = (text for name, text in files.items() if name.endswith("/METADATA"))
    fields = email.message_from_bytes(metadata)
    version = fields["Version"]
    if tag != f"v{version}":
        sys.exit(f"the tag is {tag}, distrinews.__version__ is {version}")
    if f"\n## [{version}] - 2" not in (ROOT / CHANGELOG).read_text("utf-8"):
        sys.exit(f"{CHANGELOG} has no dated section [{version}]")
    if not fields.get_all("Project-URL"):
        sys.exit("[project.urls] of pyproject.toml is empty: where does this live?")


def main() -> None:
    """Build, check, use; keep what was built if it is wanted."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, help="keep sdist and wheel here")
    parser.add_argument("--tag", help="the release's tag: must fit the version")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work, tracked = pathlib.Path(folder), tracked_files()
        archives = build(work, tracked=tracked)
        if args.tag:
            check_release(archives[1], args.tag)
        use(archives[1], work=work, tracked=tracked)
        if args.out:
            args.out.mkdir(parents=True, exist_ok=True)
            for archive in archives:
                shutil.copy(archive, args.out)


if __name__ == "__main__":
    main()
