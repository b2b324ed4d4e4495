"""Look at this machine before a training does: what would fail, and the cure.

Promise: `examine` always returns within half a minute (with GPUs within 100 s), never
raises, and leaves no process behind, however broken the machine is. Nothing is changed
on it.

Not here: the single checks (`distrinews.doctor.checks`), what two real ranks do
(`distrinews.doctor.probe`), recognising a pasted error (`distrinews.doctor.matching`).

Guide: troubleshooting.
"""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from distrinews import __version__
from distrinews.doctor.checks import CHECKS
from distrinews.doctor.findings import INSTALL, Finding, judge_pair, judge_torch
from distrinews.system import console

__all__ = ["describe", "examine", "exit_code"]

# How long the small checks have, all together: a broken name server takes its time.
CHECKS_LIMIT_S = 8.0
# How long loading torch and the two real ranks may take; the ranks alone: 20 s.
PROBE_LIMIT_S = 26.0
PAIR_LIMIT_S = 20.0
# WHY more with GPUs: see `distrinews.doctor.probe.GPU_TIMEOUT_S`, and 5 s as on the CPU
# for starting the ranks and ending them.
GPU_PAIR_LIMIT_S = 65.0
# How long a probe that was told to end may take to end its ranks.
TERMINATE_TIMEOUT_S = 3.0


def examine(checks: Sequence[Callable[[], list[Finding]]] = CHECKS) -> list[Finding]:
    """Look at everything.

    Args:
        checks: What to look at, besides torch and two real ranks.

    Returns:
        The findings, in the order of the checks; the two ranks come last.

    Note:
        Cost: two processes besides a helper, for some 5 s on the CPU; at most 30 s,
            with GPUs 100 s.

    Examples:
        >>> examine()  # doctest: +SKIP
    """
    with _Probe() as probe:  # runs while we look at the rest
        findings = _run_checks(checks)
        try:
            findings += probe.findings()
        except Exception as error:  # whatever it was, the rest is worth telling
            findings.append(_torch_failed(f"{type(error).__name__}: {error}"))
    return findings


def exit_code(findings: Sequence[Finding]) -> int:
    """Say how a program that found this should end.

    Args:
        findings: What was found.

    Returns:
        1 if there is a problem, else 0. A warning is no problem.

    Examples:
        >>> exit_code([Finding("port", "warning", "29500 is taken")])
        0
    """
    return int(any(finding.level == "problem" for finding in findings))


def describe(findings: Sequence[Finding], *, as_json: bool = False) -> str:
    """Write the findings down, for a person or for a program.

    Args:
        findings: What was found.
        as_json: For a program.

    Returns:
        The text, without a final line end.

    Examples:
        >>> print(describe([Finding("port", "ok", "29500 is free")]))
        ok       port       29500 is free
        <BLANKLINE>
        No problem, no warning.
    """
    if as_json:
        report = {
            "distrinews": __version__,
            "exit_code": exit_code(findings),
            "findings": [asdict(finding) for finding in findings],
        }
        return json.dumps(report, indent=1)
    lines = []
    for finding in findings:
        lines.append(f"{finding.level:8} {finding.name:10} {finding.text}")
        if finding.cure:
            cure = textwrap.wrap(f"cure: {finding.cure}", 68)
            lines += [f"{'':20}{line}" for line in cure]
            lines.append(f"{'':20}more: troubleshooting/#{finding.page}")
    problems, warnings = (
        sum(finding.level == level for finding in findings)
        for level in ("problem", "warning")
    )
    summary = f"{_count(problems, 'problem')}, {_count(warnings, 'warning')}."
    return "\n".join([*lines, "", summary[0].upper() + summary[1:]])


def _count(number: int, word: str) -> str:
    return console.counted(number, word) if number else f"no {word}"


def _run_checks(checks: Sequence[Callable[[], list[Finding]]]) -> list[Finding]:
    """Run the checks side by side, and give up on those that do not answer."""
    answers: dict[int, list[Finding]] = {}

    def run_check(number: int, check: Callable[[], list[Finding]]) -> None:
        try:
            answers[number] = check()
        except Exception as error:  # a check may fail; the doctor may not
            text = f"could not be checked: {type(error).__name__}: {error}"
            answers[number] = [_unknown(check, text)]

    # WHY daemons: a name server that never answers must not keep this program alive.
    threads = [
        threading.Thread(target=run_check, args=(number, check), daemon=True)
        for number, check in enumerate(checks)
    ]
    for thread in threads:
        thread.start()
    deadline_s = time.monotonic() + CHECKS_LIMIT_S
    for thread in threads:
        thread.join(max(0.0, deadline_s - time.monotonic()))
    no_answer = f"no answer within {CHECKS_LIMIT_S:.0f} s"
    findings: list[Finding] = []
    for number, check in enumerate(checks):
        findings += answers.get(number, [_unknown(check, no_answer)])
    return findings


def _unknown(check: Callable[[], list[Finding]], text: str) -> Finding:
    name = check.__name__.strip("_").replace("_", " ")
    return Finding(name, "warning", text, "report it, with this line", "machine")


class _Probe:
    """The helper process that loads torch and starts two ranks."""

    def __enter__(self) -> _Probe:
        self._began_s = time.monotonic()
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._records: list[dict[str, Any]] = []
        self._error = ""
        try:
            # WHY stderr is merged: a crash before the first line says why only there.
            self._process: subprocess.Popen[str] | None = subprocess.Popen(
                [sys.executable, "-m", "distrinews.doctor.probe"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            self._process, self._error = None, f"could not be started: {error}"
            return self
        threading.Thread(target=self._read_lines, daemon=True).start()
        return self

    def _read_lines(self) -> None:
        if self._process is not None and self._process.stdout is not None:
            with contextlib.suppress(OSError, ValueError):  # closed when we give up
                for line in self._process.stdout:
                    self._lines.put(line)
        self._lines.put(None)

    def findings(self) -> list[Finding]:
        """What torch can do and how the two ranks did."""
        if self._process is None:
            return [_torch_failed(self._error)]
        deadline_s, other_lines = self._began_s + PROBE_LIMIT_S, []
        while True:
            try:
                wait_s = max(0.01, deadline_s - time.monotonic())
                line = self._lines.get(timeout=wait_s)
            except queue.Empty:
                return self._timed_out()
            if line is None:
                break
            try:
                self._records.append(dict(json.loads(line)))
            except (ValueError, TypeError):  # a warning of torch's, or a last cry
                other_lines.append(line.rstrip())
                continue
            if len(self._records) == 1:  # torch is there; now the ranks' time runs
                deadline_s = self._pair_deadline_s(deadline_s)
        return self._judge("\n".join(other_lines[-30:]))

    def _pair_deadline_s(self, deadline_s: float) -> float:
        """Until when the two ranks have time, now that torch has answered."""
        if self._has_usable_gpus():
            return time.monotonic() + GPU_PAIR_LIMIT_S
        return min(deadline_s, time.monotonic() + PAIR_LIMIT_S)

    def _has_usable_gpus(self) -> bool:
        gpus = self._records[0].get("gpus", []) if self._records else []
        return any(not gpu["unusable"] for gpu in gpus)

    def _judge(self, other_output: str) -> list[Finding]:
        if not self._records or "torch" not in self._records[0]:
            error = self._records[-1].get("error", "") if self._records else ""
            return [_torch_failed(error or other_output or "it ended without a word")]
        facts, *rest = self._records
        pair: dict[str, Any] = {}
        for record in rest:
            pair |= record
        if not pair and other_output:
            pair = {"error": other_output}
        return [*judge_torch(facts), judge_pair(pair)]

    def _timed_out(self) -> list[Finding]:
        if not self._records:
            return [_torch_failed(f"did not load within {PROBE_LIMIT_S:.0f} s")]
        limit_s = GPU_PAIR_LIMIT_S if self._has_usable_gpus() else PAIR_LIMIT_S
        text = (
            f"two processes did not meet within {limit_s:.0f} s: a firewall, a "
            "VPN, or a machine that is busy with something else"
        )
        cure = "close other programs and VPNs, then: python -m distrinews doctor"
        pair = Finding("two ranks", "problem", text, cure, "rank-hung")
        return [*judge_torch(self._records[0]), pair]

    def __exit__(self, *_: object) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        # WHY terminate first: the probe then ends its ranks itself. Killed outright,
        # it cannot, and they notice only a moment later that it is gone.
        self._process.terminate()
        try:
            self._process.wait(TERMINATE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _torch_failed(reason: str) -> Finding:
    page, cure = "machine", INSTALL
    with contextlib.suppress(ImportError):  # without pydantic nothing can be matched
        from distrinews.doctor.matching import match

        if matches := match(reason):
            page = matches[0].entry.slug
            cure = getattr(matches[0].entry, "cure", cure)
    lines = [line for line in reason.splitlines() if line.strip()]
    text = f"does not work: {lines[-1][:300] if lines else 'it said nothing'}"
    return Finding("torch", "problem", text, cure, page)
