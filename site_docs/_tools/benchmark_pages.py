"""Write measured numbers into the pages: what stands there comes from committed runs.

A page holds `<!-- from FILE.json -->` and `<!-- end -->`; what is between them is made
from site_docs/benchmarks/results/FILE.json. `python
site_docs/_tools/benchmark_pages.py` renews all pages; with `--check` it only says which
are stale, with exit code 1.
"""

from __future__ import annotations

import pathlib
import re
import sys
from collections.abc import Callable
from typing import Any

from distrinews import averaging, results, scaling

SITE = pathlib.Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- from (\S+\.json) -->\n).*?(<!-- end -->)", re.DOTALL)


def _averaging(told: dict[str, Any]) -> str:
    return averaging.table(told["figures"])


def _scaling(told: dict[str, Any]) -> str:
    num_ranks = told["environment"]["num_ranks"]
    shown = scaling.table(told["figures"], world_size=num_ranks)
    words = scaling.explain(told["figures"], world_size=num_ranks)
    listed = "\n".join(f"- {line}" for line in words.splitlines())
    return f"{shown}\n\n{listed}"


def _engines(told: dict[str, Any]) -> str:
    figures = told["figures"]
    int8, float32 = figures["onnx-int8"], figures["onnx-float32"]
    first = figures["starts"]["first, int8 is made"]
    lines = [
        "| engine | accuracy | same label | per text | file | ready | resident |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        _engine_line(
            "torch-float32",
            [f"{int8['reference_accuracy']:.4f}", "", int8["reference_ms_per_text"]],
            int8["reference_bytes"],
            figures["starts"]["later, torch-float32"],
        ),
        _engine_line(
            "onnx-float32",
            ["", f"{float32['label_agreement']:.2%}", float32["ms_per_text"]],
            float32["num_bytes"],
            None,
        ),
        _engine_line(
            "onnx-int8",
            [
                f"{int8['accuracy']:.4f}",
                f"{int8['label_agreement']:.2%}",
                int8["ms_per_text"],
            ],
            int8["num_bytes"],
            figures["starts"]["later, onnx-int8"],
        ),
    ]
    plain = figures["int8 in plain batches of equal length"]
    facts = [
        f"Accuracy and speed on {int8['num_texts']} test rows of AG News "
        f"(onnx-float32: the first {float32['num_texts']}), both engines taking turns.",
        f"Largest difference of a score from torch float32: int8 "
        f"{int8['largest_difference']:.3f}, mean {int8['mean_difference']:.4f}; "
        f"onnx-float32 {float32['largest_difference']:.1e}.",
        f"The first start, which makes the int8 model: {first['ready_s']:.1f} s, "
        f"{first['resident_bytes'] / 2**20:.0f} MiB.",
        f"int8, each text alone against the same text among 31 random others: "
        f"{int8['label_flips_in_company']:.2%} of the labels differ, largest "
        f"difference of a score {int8['largest_difference_in_company']:g}.",
        f"The same int8 file in plain batches of texts of equal length: "
        f"{plain['label_flips']} of {plain['num_texts']} labels differ "
        f"({plain['label_flips_share']:.2%}), largest difference of a score "
        f"{plain['largest_difference']:.3f}.",
    ]
    return "\n".join(lines) + "\n\n" + "\n".join(f"- {fact}" for fact in facts)


def _engine_line(
    name: str, cells: list[Any], num_bytes: int, starts: dict[str, Any] | None
) -> str:
    accuracy, same, ms = cells
    ready = resident = ""
    if starts:
        ready = f"{max(starts['ready_s']):.1f} s"
        resident = f"{max(starts['resident_bytes']) / 2**20:.0f} MiB"
    size = f"{num_bytes / 1e6:.0f} MB"
    cells = [name, accuracy, same, f"{ms:.2f} ms", size, ready, resident]
    return "| " + " | ".join(cells) + " |"


RENDERERS: dict[str, Callable[[dict[str, Any]], str]] = {
    "averaging": _averaging,
    "engines": _engines,
    "scaling": _scaling,
}


def _origin(told: dict[str, Any], name: str) -> str:
    """Where and when, with what."""
    env, settings = told["environment"], told["settings"]
    with_what = f"torch {env['packages']['torch']}"
    if told["kind"] == "engines":
        with_what += (
            f", onnxruntime {env['packages']['onnxruntime']}, preset "
            f"{settings['model']['preset']}, weights {settings['weights_sha256'][:8]}"
        )
    else:
        with_what += (
            f", preset {settings['preset']}, "
            f"{settings['global_batch_size']} rows a step over "
            f"{env['num_ranks']} ranks, {settings['num_rounds']} rounds in turn"
        )
    return (
        f"Measured on {told['date']}: {env['cpu']}, {env['num_cores']} cores, "
        f"{with_what} ({name}, commit {told['commit'][:7]})."
    )


def render(text: str) -> str:
    """Fill every block of a page.

    Args:
        text: The page.

    Returns:
        The page with its blocks renewed.
    """

    def renewed(match: re.Match[str]) -> str:
        opening, name, closing = match.groups()
        told = results.read(SITE / "benchmarks" / "results" / name)
        shown = RENDERERS[told["kind"]](told)
        return f"{opening}\n{shown}\n\n{_origin(told, name)}\n\n{closing}"

    return BLOCK.sub(renewed, text)


def main() -> int:
    """Renew or check all pages.

    Returns:
        The exit code.
    """
    stale = []
    for page in sorted(SITE.rglob("*.md")):
        before = page.read_text(encoding="utf-8")
        after = render(before)
        if after != before:
            stale.append(page)
            if "--check" not in sys.argv:
                page.write_text(after, encoding="utf-8", newline="\n")
    for page in stale:
        print(page.relative_to(SITE.parent))
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
