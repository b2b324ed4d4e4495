"""Measure the inference engines for `benchmarks/results/engines.json`.

Run  python site_docs/_tools/measure_engines.py EXPORT DATA OUT.json

EXPORT is a run folder or an export, DATA a folder with a test file (AG News) or
"newswire". Nothing else should run meanwhile. All 7,600 rows of AG News take more than
three minutes on two cores; --test-rows takes fewer.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from distrinews.bench import results
from distrinews.data import sources
from distrinews.inference import bundle, engines, onnx_export, parity
from distrinews.inference.classifier import Classifier, Encoded, open_best
from distrinews.system import machine

NUM_STARTS = 3
# A program that serves nothing but is ready to: what `ready within` means.
START_PROGRAM = """
import json, sys, time
import psutil
from distrinews.inference.classifier import open_best
best = open_best(sys.argv[1], engine=sys.argv[2], cache=sys.argv[3])
process = psutil.Process()
print(json.dumps({
    "engine": best.engine_name,
    "ready_s": round(time.time() - process.create_time(), 3),
    "resident_bytes": process.memory_info().rss,
    "fallback_reason": best.fallback_reason,
}))
"""


def measure_start(
    folder: pathlib.Path, engine: str, cache: pathlib.Path
) -> dict[str, Any]:
    """One program from its start until it could answer."""
    command = [sys.executable, "-c", START_PROGRAM, str(folder), engine, str(cache)]
    completed = subprocess.run(command, capture_output=True, text=True, check=True)
    report: dict[str, Any] = json.loads(completed.stdout)
    return report


def measure_starts(folder: pathlib.Path) -> dict[str, Any]:
    """The first start, which makes int8, and later ones of each engine."""
    with tempfile.TemporaryDirectory() as cache_folder:
        cache = pathlib.Path(cache_folder)
        report: dict[str, Any] = {
            "first, int8 is made": measure_start(folder, "auto", cache)
        }
        for engine in ("auto", engines.REFERENCE):
            runs = [measure_start(folder, engine, cache) for _ in range(NUM_STARTS)]
            report[f"later, {runs[0]['engine']}"] = {
                "ready_s": [run["ready_s"] for run in runs],
                "resident_bytes": [run["resident_bytes"] for run in runs],
            }
    return report


def plain_batches(path: pathlib.Path, items: Sequence[Encoded]) -> dict[str, Any]:
    """What int8 does to labels when texts of equal length share a forward pass.

    This is what the engine does not do; here it is seen why.

    Returns:
        Texts, how many labels differ from those alone, the largest difference of a
        score.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(path), providers=["CPUExecutionProvider"]
    )
    by_length = defaultdict(list)
    for item in items:
        by_length[item.num_tokens].append(item.ids)
    num_texts = num_flips = 0
    largest = 0.0
    for group in by_length.values():
        rows = np.array(group[:32], np.int32)  # [B, T], nothing padded
        batched = session.run(None, {"input_ids": rows})[0]  # [B, C]
        alone = [session.run(None, {"input_ids": row[None]})[0][0] for row in rows]
        num_texts += len(rows)
        num_flips += int((batched.argmax(1) != np.array(alone).argmax(1)).sum())
        largest = max(largest, float(abs(softmax(batched) - softmax(alone)).max()))
    return {
        "num_texts": num_texts,
        "label_flips": num_flips,
        "label_flips_share": num_flips / num_texts,
        "largest_difference": largest,
    }


def softmax(logits: Any) -> Any:
    """Probabilities [B, C]."""
    powers = np.exp(np.asarray(logits, np.float64))
    return powers / powers.sum(1, keepdims=True)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("export", type=pathlib.Path)
    parser.add_argument("data")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--test-rows", type=int)
    arguments = parser.parse_args()
    export = bundle.open_bundle(arguments.export)
    source = sources.open_source(arguments.data)
    rows = list(source.rows("test", num_rows=arguments.test_rows, seed=0))
    figures: dict[str, Any] = {"starts": measure_starts(export.folder)}
    for name in ("onnx-int8", "onnx-float32"):
        classifier = Classifier(export, engine=name, num_threads=machine.num_cores())
        test_rows = rows if name == "onnx-int8" else rows[:500]
        figures[name] = parity.measure(export, classifier, rows=test_rows).as_dict()
    best = open_best(export.folder)
    items = [best.encode(row.text) for row in rows]
    int8 = onnx_export.ensure(export, "onnx-int8")
    figures["int8 in plain batches of equal length"] = plain_batches(int8, items[:2000])
    settings = {
        "model": export.facts,
        "weights_sha256": export.identity.sha256,
        "data": pathlib.Path(arguments.data).name,
        "num_starts": NUM_STARTS,
    }
    record = results.build_record(
        "engines", figures=figures, settings=settings, num_ranks=1
    )
    record["environment"]["packages"] |= versions("onnx", "onnxruntime", "numpy")
    results.write(arguments.out, record)


def versions(*packages: str) -> dict[str, str]:
    """Versions of packages that only serving needs."""
    import importlib.metadata

    return {name: importlib.metadata.version(name) for name in packages}


def table(record: dict[str, Any]) -> str:
    """Draw the figures for the page.

    Args:
        record: What this program wrote.

    Returns:
        Markdown.
    """
    figures = record["figures"]
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
    name: str, cells: list[Any], num_bytes: int, start_times: dict[str, Any] | None
) -> str:
    accuracy, same, ms = cells
    ready = resident = ""
    if start_times:
        ready = f"{max(start_times['ready_s']):.1f} s"
        resident = f"{max(start_times['resident_bytes']) / 2**20:.0f} MiB"
    size = f"{num_bytes / 1e6:.0f} MB"
    cells = [name, accuracy, same, f"{ms:.2f} ms", size, ready, resident]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
