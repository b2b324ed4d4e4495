"""What a finding of the doctor is, and what the probe's answers mean.

Promise: every finding that is not "ok" carries a cure that can be typed and the anchor
of its troubleshooting entry.

Not here: the checks (`distrinews.doctor.checks`), the probe (`distrinews.doctor.probe`,
a process of its own). This module loads nothing heavy, so that it works where torch
or pydantic do not.

Guide: troubleshooting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["INSTALL", "Finding", "Level", "judge_pair", "judge_torch"]

Level = Literal["ok", "warning", "problem"]

# What puts the packages right, as the README has it.
INSTALL = 'python -m pip install -c constraints.txt -e ".[quickstart]"'


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What was looked at.
        level: "ok", "warning" (may cost time or a feature) or "problem" (will fail).
        text: What was found, in one line.
        cure: What to type or to change; empty if ok.
        page: Anchor of the troubleshooting entry; empty if ok.

    Examples:
        >>> Finding("port", "ok", "a free one was found").cure
        ''
    """

    name: str
    level: Level
    text: str
    cure: str = ""
    page: str = ""


def judge_torch(facts: dict[str, Any]) -> list[Finding]:
    """Say what torch's answers mean.

    Args:
        facts: What `distrinews.doctor.probe.torch_facts` returned.

    Returns:
        Findings about torch, its backends, libuv and GPUs.

    Examples:
        >>> facts = {"torch": "2.13.0", "distributed": True, "gloo": True}
        >>> facts |= {"nccl": False, "libuv": True, "gpus": []}
        >>> [finding.text for finding in judge_torch(facts)][:2]
        ['2.13.0', 'gloo (CPU)']
    """
    if not (facts["distributed"] and facts["gloo"]):
        text = f"{facts['torch']} was built without distributed support for the CPU"
        return [Finding("torch", "problem", text, INSTALL, "machine")]
    backends = "gloo (CPU), nccl (NVIDIA GPUs)" if facts["nccl"] else "gloo (CPU)"
    findings = [
        Finding("torch", "ok", str(facts["torch"])),
        Finding("backends", "ok", backends),
    ]
    if not facts["libuv"]:
        text = "torch was built without libuv: torchrun does not work here"
        cure = "start chapters with python, not torchrun: they start their ranks"
        findings.append(Finding("libuv", "warning", text, cure, "no-libuv-on-windows"))
    return findings + _judge_gpus(facts["gpus"])


def _judge_gpus(gpus: list[dict[str, Any]]) -> list[Finding]:
    if not gpus:
        return [Finding("gpus", "ok", "none: ranks compute on the CPU, that is enough")]
    usable = [gpu for gpu in gpus if not gpu["unusable"]]
    findings = []
    if usable:
        names = ", ".join(gpu["name"] for gpu in usable)
        findings.append(Finding("gpus", "ok", names))
    for reason in dict.fromkeys(gpu["unusable"] for gpu in gpus if gpu["unusable"]):
        text = f"{reason}: ranks leave it out"
        cure = "on Kaggle choose the accelerator GPU T4 x2; elsewhere install a build "
        cure += "of torch for this GPU: https://pytorch.org/get-started/locally/"
        findings.append(Finding("gpus", "warning", text, cure, "no-kernel-image"))
    slow = sorted({gpu["name"] for gpu in usable if not gpu["bf16_native"]})
    if slow:
        text = f"bfloat16 is only emulated on {', '.join(slow)}: slow"
        cure = "train in float32, as this course does"
        findings.append(Finding("bfloat16", "warning", text, cure, "bf16-emulated"))
    return findings


def judge_pair(record: dict[str, Any]) -> Finding:
    """Say how the two real ranks did.

    Args:
        record: What the probe printed about them: sum and took_s, or error.

    Returns:
        The finding; of a failure with the cure of the entry that its text matches.

    Examples:
        >>> judge_pair({"sum": 3, "world_size": 2, "took_s": 4.5}).text
        'two processes added up 1 + 2 = 3 in 4.5 s'
    """
    if record.get("sum") == 3 and "took_s" in record:
        text = f"two processes added up 1 + 2 = 3 in {record['took_s']} s"
        if record.get("backend"):
            text += f", by {record['backend']} on {record['device']}"
        return Finding("two ranks", "ok", text)
    # WHY here: a machine without pydantic is what this module must report.
    from distrinews.doctor.matching import match

    error = str(record.get("error", f"they ended without a result: {record}"))
    page, cure = "rank-failed", "python -m distrinews.doctor.probe  (shows all of it)"
    if matches := match(error):
        page = matches[0].entry.slug
        cure = getattr(matches[0].entry, "cure", cure)
    # The last line that says what happened, not our own why, fix and more.
    lines = [line for line in error.splitlines() if line and not line.startswith("  ")]
    return Finding("two ranks", "problem", lines[-1][:200], cure, page)
