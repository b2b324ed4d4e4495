"""Write how long each file of tests takes into `tests/durations.json`.

    python -m pytest --junitxml fast.xml
    python -m tests.durations "fast, after" fast.xml
    python -m tests.durations "slow, after" ci.log --source "CI, its 15 slowest tests"

Takes pytest's XML, or the text of `--durations`. The tiers are cut by these numbers:
what takes long goes from fast to slow, or from slow to `.ci/endurance`.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import json
import os
import pathlib
import platform
import re
import subprocess
from collections.abc import Iterator
from xml.etree import ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[1]
RECORD = ROOT / "tests" / "durations.json"
LINE = re.compile(r"(?:> )?([\d.]+)s (?:call|setup|teardown) +(\S+?\.py)::(\S+)")


def measured(path: pathlib.Path) -> Iterator[tuple[str, str, float]]:
    """File, test and seconds, one for each test (XML) or part of a test (text)."""
    if path.suffix == ".xml":
        for case in ElementTree.parse(path).iter("testcase"):
            if case.find("skipped") is None:
                name, seconds = case.attrib["name"], float(case.attrib["time"])
                parts = case.attrib["classname"].split(".")
                # A class inside a file is part of the name: tests.test_x.TestY.
                while len(parts) > 1 and not (ROOT / f"{'/'.join(parts)}.py").exists():
                    parts.pop()
                yield f"{'/'.join(parts)}.py", name, seconds
    else:
        for match in LINE.finditer(path.read_text(encoding="utf-8")):
            yield match[2], match[3], float(match[1])


def summary(paths: list[pathlib.Path], *, source: str) -> dict[str, object]:
    """What is kept of some runs: seconds and number of tests of each file."""
    seconds_by_file: collections.Counter[str] = collections.Counter()
    tests_by_file: dict[str, set[str]] = collections.defaultdict(set)
    for path in paths:
        for file, test, seconds in measured(path):
            seconds_by_file[file] += seconds
            tests_by_file[file].add(test)
    return {
        "source": source,
        "seconds": round(seconds_by_file.total(), 1),
        "num_tests": sum(map(len, tests_by_file.values())),
        "files": {
            file: {"seconds": round(seconds, 2), "num_tests": len(tests_by_file[file])}
            for file, seconds in seconds_by_file.most_common()
        },
    }


def here_and_now() -> dict[str, object]:
    """Commit and machine of a run that has just ended here."""
    git = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True)
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit.stdout.strip(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        # More than the cores: others computed, too, and the seconds are too many.
        "load_of_15_minutes": round(os.getloadavg()[2], 1),
        "python": platform.python_version(),
    }


def main() -> None:
    """Add one entry to the record, or replace it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="of the entry, for example: fast, before")
    parser.add_argument("files", nargs="+", type=pathlib.Path, help="XML or text")
    parser.add_argument("--source", help="where from [default: a run here, now]")
    args = parser.parse_args()
    entries = json.loads(RECORD.read_text("utf-8")) if RECORD.exists() else {}
    about = {} if args.source else here_and_now()
    source = args.source or "a run on this machine"
    entries[args.name] = about | summary(args.files, source=source)
    RECORD.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    seconds, num_tests = (entries[args.name][key] for key in ("seconds", "num_tests"))
    print(f"{args.name}: {num_tests} tests, {seconds} s")


if __name__ == "__main__":
    main()
