"""Proofs for tests/durations.py: seconds are added up by file."""

from __future__ import annotations

import pathlib

import durations

XML = """<testsuites><testsuite>
<testcase classname="tests.test_ring" name="test_a[1]" time="1.25"/>
<testcase classname="tests.test_ring" name="test_a[2]" time="0.5"/>
<testcase classname="tests.test_ring" name="test_b" time="9"><skipped/></testcase>
<testcase classname="distrinews.dist.launcher" name="launch" time="0.25"/>
</testsuite></testsuites>"""
TEXT = """
> 161.89s call     tests/test_figures.py::test_5120_rows
52.64s setup    tests/test_kaggle.py::test_the_notebook
1.00s call     tests/test_kaggle.py::test_the_notebook
12 passed in 99.00s
"""


def test_seconds_and_tests_are_added_up_by_file(tmp_path: pathlib.Path) -> None:
    junit, log = tmp_path / "a.xml", tmp_path / "b.log"
    junit.write_text(XML, encoding="utf-8")
    log.write_text(TEXT, encoding="utf-8")
    kept = durations.summary([junit, log], source="here")
    assert kept["files"] == {
        "tests/test_figures.py": {"seconds": 161.89, "num_tests": 1},
        "tests/test_kaggle.py": {"seconds": 53.64, "num_tests": 1},
        "tests/test_ring.py": {"seconds": 1.75, "num_tests": 2},
        "distrinews/dist/launcher.py": {"seconds": 0.25, "num_tests": 1},
    }
    assert (kept["seconds"], kept["num_tests"]) == (217.5, 5)
