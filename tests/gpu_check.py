"""Check on one GPU what CPUs cannot show; `tests/gpu_check.sh` says how it is started.

Each check returns figures or raises; what failed is printed, and the others go on. All
models are built with random weights, because nothing can be downloaded. With --tiny, or
where there is no GPU, everything is small, so that CI runs the same lines on its CPU.
"""

from __future__ import annotations

import argparse
import itertools
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as torch_dist
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from distrinews import dist, model, training
from distrinews.bench import results, timing
from distrinews.bench.costmodel import predictions, published
from distrinews.bench.costmodel.published import Figure
from distrinews.config.settings import DistributedSettings
from distrinews.model import sizes
from distrinews.system import files

ROOT = pathlib.Path(__file__).resolve().parents[1]
GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda", 0) if GPU else torch.device("cpu")
NUM_TOKENS, VOCABULARY = 64, 4000  # every size has at least so many pieces
# A sum in another order; a missing average is a hundred times larger, see the controls.
TOLERANCE = 1e-4

# The figures by which a step on this GPU is predicted, as `published` has them for T4.
H200 = published.T4_PAIR | {
    "tflops": Figure(
        33.5,
        66.9,
        "TFLOP/s",
        "datasheet",
        "132 multiprocessors, 128 float32 units each, 2 operations in each cycle of "
        "1.98 GHz; down to half of it is assumed, as measured on T4",
    ),
    "memory_gb_per_s": Figure(
        2400.0,
        4800.0,
        "GB/s",
        "datasheet",
        "4.8 TB/s; down to half of it is assumed",
        "https://aiwiki.ai/wiki/nvidia_h200",
    ),
}


class Scale:
    """How large everything is."""

    def __init__(self, *, tiny: bool) -> None:
        self.size = "tiny" if tiny else "distilbert"
        self.rows = 8 if tiny else 32
        self.few_steps, self.many_steps = (2, 6) if tiny else (20, 120)
        self.num_rounds = 2 if tiny else 5


def wait() -> None:
    """Wait until the GPU has done what it was told."""
    if GPU:
        torch.cuda.synchronize()


def batch(step: int, *, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random token ids [rows, T] and labels, the same for the same step."""
    generator = torch.Generator().manual_seed(step)
    ids = torch.randint(0, VOCABULARY, (rows, NUM_TOKENS), generator=generator)
    return ids, torch.randint(0, 4, (rows,), generator=generator)


def new_net(size: str = "tiny") -> nn.Module:
    torch.manual_seed(5)
    net: nn.Module = sizes.build(size)
    return net.to(DEVICE)


def train_steps(
    replica: nn.Module, *, rows: int, part: slice = slice(None), num_steps: int = 6
) -> torch.Tensor:
    """Some steps of SGD; all weights in one vector on the CPU."""
    optimizer = torch.optim.SGD(replica.parameters(), lr=0.1)
    for step in range(num_steps):
        ids, labels = batch(step, rows=rows)
        optimizer.zero_grad()
        logits = replica(input_ids=ids[part].to(DEVICE)).logits
        F.cross_entropy(logits, labels[part].to(DEVICE)).backward()
        optimizer.step()
    return torch.cat([p.detach().flatten().cpu() for p in replica.parameters()])


def gap(left: torch.Tensor, right: torch.Tensor) -> float:
    return float((left - right).abs().max())


def check(*, holds: bool, says: str) -> None:
    if not holds:
        raise AssertionError(says)


# --- The checks ---------------------------------------------------------------------


def device_binding(scale: Scale) -> dict[str, Any]:
    """One rank gets the GPU; two ranks that would share it get the CPU, and gloo."""
    with dist.setup() as ranks:
        check(holds=ranks.device == DEVICE, says=f"alone on {ranks.device}")
        current = torch.cuda.current_device() if GPU else None
    with tempfile.TemporaryDirectory() as folder:
        dist.launch(_say_device, pathlib.Path(folder), num_ranks=2)
        devices = [files.read_json(path) for path in pathlib.Path(folder).iterdir()]
    if not GPU or torch.cuda.device_count() == 1:
        check(holds=devices == ["cpu", "cpu"], says=f"two ranks on {devices}")
    return {"alone": str(DEVICE), "current": current, "two_ranks": sorted(devices)}


def _say_device(ranks: dist.Ranks, folder: pathlib.Path) -> None:
    files.write_json(folder / f"{ranks.rank}.json", str(ranks.device))


def nccl_with_one_rank(scale: Scale) -> dict[str, Any]:
    """A group of nccl, DDP over it: the bits of the bare model."""
    backend = "nccl" if GPU else "gloo"
    want = train_steps(new_net(), rows=scale.rows)
    store = pathlib.Path(tempfile.mkdtemp()) / "store"
    torch_dist.init_process_group(
        backend, init_method=store.as_uri(), rank=0, world_size=1
    )
    try:
        number = torch.full((1,), 3.0, device=DEVICE)
        torch_dist.all_reduce(number)
        check(holds=number.item() == 3.0, says=f"the sum of 3.0 is {number.item()}")
        gpu = [0] if GPU else None
        replica = DistributedDataParallel(
            new_net(), device_ids=gpu, gradient_as_bucket_view=True
        )
        got = train_steps(replica, rows=scale.rows)
        found = torch_dist.distributed_c10d._get_default_group()._get_backend(DEVICE)
        name = found.name()
    finally:
        torch_dist.destroy_process_group()
    check(holds=name == backend, says=f"the backend is {name}")
    check(
        holds=torch.equal(got, want), says=f"DDP's weights differ by {gap(got, want)}"
    )
    other = train_steps(new_net(), rows=scale.rows, num_steps=5)
    check(holds=gap(other, want) > TOLERANCE, says="a step less changes nothing")
    return {"backend": name, "gap": gap(got, want)}


def two_gloo_ranks_on_cuda_tensors(scale: Scale) -> dict[str, Any]:
    """Two ranks share a GPU and average through gloo: one process's weights."""
    want = train_steps(new_net(), rows=scale.rows)
    with tempfile.TemporaryDirectory() as folder:
        dist.launch(_train_part, pathlib.Path(folder), scale.rows, num_ranks=2)
        by_rank = [
            torch.load(path) for path in sorted(pathlib.Path(folder).glob("*.pt"))
        ]
    check(holds=torch.equal(*(w["ddp"] for w in by_rank)), says="replicas differ")
    gaps = {name: gap(by_rank[0][name], want) for name in ("ddp", "alone")}
    check(holds=gaps["ddp"] < TOLERANCE, says=f"off by {gaps['ddp']}")
    check(holds=gaps["alone"] > 10 * TOLERANCE, says="not averaging changes nothing")
    return {"gap": gaps["ddp"], "gap_without_averaging": gaps["alone"]}


def _train_part(ranks: dist.Ranks, folder: pathlib.Path, rows: int) -> None:
    part = slice(ranks.rank, None, ranks.world_size)
    weights = {
        "ddp": train_steps(DistributedDataParallel(new_net()), rows=rows, part=part),
        "alone": train_steps(new_net(), rows=rows, part=part),
    }
    torch.save(weights, folder / f"{ranks.rank}.pt")


def pinned_copies(scale: Scale) -> dict[str, Any]:
    """A copy from pinned memory returns at once, and arrives whole."""
    source = torch.rand(1_000_000 if scale.size == "tiny" else 64_000_000)
    pinned = source.pin_memory() if GPU else source
    issue_s = {}
    for name, tensor in (("pageable", source), ("pinned", pinned)):
        wait()
        began_s = time.perf_counter()
        copied = tensor.to(DEVICE, non_blocking=True)
        issue_s[name] = time.perf_counter() - began_s
        wait()
        check(holds=torch.equal(copied.cpu(), source), says=f"{name}: another tensor")
    if GPU:
        says = f"a pinned copy kept the CPU waiting: {issue_s}"
        check(holds=issue_s["pinned"] < issue_s["pageable"] / 2, says=says)
    return {f"{name}_issue_ms": 1000 * s for name, s in issue_s.items()}


def resume_and_export(scale: Scale) -> dict[str, Any]:
    """Chapter 05 on the GPU: stopped and resumed, the same bits; the export answers."""
    from distrinews.inference.classifier import Classifier

    words = ["--preset", "tiny", "--train-rows", "2560", "--validation-rows", "64"]
    words += ["--test-rows", "128", "--num-ranks", "1", "--deterministic"]
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        said = _chapter(*words, "--run-name", "whole", folder=root)
        check(holds=f"1 on {DEVICE.type}" in said, says=said)
        stop = ("--run-name", "parts", "--max-steps", "7")
        _chapter(*words, *stop, folder=root)
        early = _weights(root / "parts")
        _chapter(*words, "--run-name", "parts", "--resume", folder=root)
        whole, resumed = _weights(root / "whole"), _weights(root / "parts")
        check(holds=not torch.equal(early, whole), says="seven steps were enough")
        check(holds=torch.equal(resumed, whole), says=f"off by {gap(resumed, whole)}")
        [answer] = Classifier(root / "whole" / "export").predict([
            "Striker scores twice"
        ])
        result = files.read_json(root / "whole" / "result.json")
    check(holds=result["accuracy"] > 0.5, says=f"accuracy {result['accuracy']}")
    return {"accuracy": result["accuracy"], "label": answer.label, "resumed_gap": 0.0}


def _chapter(*words: str, folder: pathlib.Path) -> str:
    chapter = ROOT / "chapters" / "05_ddp_training.py"
    done = subprocess.run(
        [sys.executable, str(chapter), *words, "--runs-dir", str(folder)],
        cwd=folder,
        env=os.environ | {"DISTRINEWS_CACHE": str(folder / "cache")},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    check(holds=done.returncode == 0, says=done.stderr[-3000:])
    return done.stdout


def _weights(run: pathlib.Path) -> torch.Tensor:
    from safetensors.torch import load_file

    newest = sorted((run / "checkpoints").glob("step-*"))[-1]
    tensors = load_file(newest / "weights.safetensors")
    return torch.cat([tensors[name].flatten().float() for name in sorted(tensors)])


def step_time(scale: Scale) -> dict[str, Any]:
    """Steps of our loop and of the Trainer, float32, and what was predicted."""
    seconds: dict[str, list[float]] = {"ours": [], "trainer": []}
    ways: dict[str, Callable[..., float]] = {"ours": _our_steps, "trainer": _trainer}
    for _, name in timing.turns(list(ways), num_rounds=scale.num_rounds):
        few, many = (
            ways[name](scale, num_steps=steps)
            for steps in (scale.few_steps, scale.many_steps)
        )
        seconds[name].append((many - few) / (scale.many_steps - scale.few_steps))
    pairs = zip(seconds["trainer"], seconds["ours"], strict=True)
    ratio, interval = timing.median_and_interval([a / b for a, b in pairs])
    step_ms = [1000 * s for s in sorted(seconds["ours"])]
    figures = {
        "step_ms": {name: [1000 * s for s in each] for name, each in seconds.items()},
        "trainer_by_ours": ratio,
        "interval": interval,
        "settings": {"size": scale.size, "rows": scale.rows, "tokens": NUM_TOKENS},
    }
    if GPU and "H200" in torch.cuda.get_device_name(0):
        predicted = predictions.interval([
            1000
            * predictions.step(
                scale.size, chosen, world_size=1, rows=scale.rows, tokens=NUM_TOKENS
            ).step_s
            for chosen in predictions.low_high_combinations(H200)
        ])
        middle = step_ms[len(step_ms) // 2]
        figures["predicted_ms"] = predicted
        figures["prediction_holds"] = predicted[0] <= middle <= predicted[1]
    return figures


def _our_steps(scale: Scale, *, num_steps: int) -> float:
    """Chapter 05's step; seconds of so many."""
    net = new_net(scale.size)
    settings = DistributedSettings.model_validate({"preset": "tiny"})
    optimizer = training.build_optimizer(net, settings=settings)
    batches = [batch(step, rows=scale.rows) for step in range(8)]
    wait()
    began_s = time.perf_counter()
    for ids, labels in itertools.islice(itertools.cycle(batches), num_steps):
        optimizer.zero_grad()
        logits = net(input_ids=ids.to(DEVICE)).logits
        F.cross_entropy(logits, labels.to(DEVICE)).backward()
        clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    wait()
    return time.perf_counter() - began_s


def _trainer(scale: Scale, *, num_steps: int) -> float:
    """Hugging Face's Trainer, the same model and rows; seconds of so many steps."""
    from transformers import (
        DistilBertForSequenceClassification,
        Trainer,
        TrainingArguments,
    )

    torch.manual_seed(5)
    config = sizes.SIZES[scale.size].config(num_labels=4)
    net = DistilBertForSequenceClassification(config)
    ids, labels = batch(0, rows=scale.rows * 8)
    rows = [
        {"input_ids": row, "labels": label}
        for row, label in zip(ids, labels, strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            per_device_train_batch_size=scale.rows,
            max_steps=num_steps,
            max_grad_norm=1.0,
            use_cpu=not GPU,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = Trainer(model=net, args=arguments, train_dataset=rows)
        wait()
        began_s = time.perf_counter()
        trainer.train()
        wait()
        return time.perf_counter() - began_s


def memory(scale: Scale) -> dict[str, Any]:
    """Weights, gradients and AdamW's moments: 16 bytes a weight, as `sizes` counts."""
    want = 4 * sum(sizes.gradient_bytes(scale.size))
    if not GPU:
        return {"predicted_bytes": want, "measured_bytes": None}
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    net = new_net(scale.size)
    settings = DistributedSettings.model_validate({"preset": "tiny"})
    optimizer = training.build_optimizer(net, settings=settings)
    ids, labels = batch(0, rows=scale.rows)
    F.cross_entropy(net(input_ids=ids.to(DEVICE)).logits, labels.to(DEVICE)).backward()
    optimizer.step()
    wait()
    measured = torch.cuda.memory_allocated() - before
    says = f"{measured:,} bytes, {want:,} predicted"
    check(holds=abs(measured - want) < 0.03 * want, says=says)
    return {"predicted_bytes": want, "measured_bytes": measured}


CHECKS = (
    device_binding,
    nccl_with_one_rank,
    two_gloo_ranks_on_cuda_tensors,
    pinned_copies,
    resume_and_export,
    memory,
    step_time,
)


def main() -> int:
    """Run every check, write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=pathlib.Path, help="the JSON file to write")
    parser.add_argument("--tiny", action="store_true", help="as without a GPU")
    args = parser.parse_args()
    model.disable_progress_bars()
    scale = Scale(tiny=args.tiny or not GPU)
    figures: dict[str, Any] = {}
    for run in CHECKS:
        began_s = time.monotonic()
        try:
            figures[run.__name__] = run(scale) | {"held": True}
        except Exception:  # the others must still be seen
            figures[run.__name__] = {"held": False, "error": traceback.format_exc()}
        figures[run.__name__]["seconds"] = round(time.monotonic() - began_s, 1)
        print(run.__name__, figures[run.__name__])
        # WHY after each: what was found so far survives a machine that is taken away.
        settings = {"tiny": scale.size == "tiny", "gpu": GPU}
        record = results.build_record(
            "gpu_check", figures=figures, settings=settings, num_ranks=1
        )
        results.write(args.out, record)
    failed = [name for name, found in figures.items() if not found["held"]]
    print(f"failed: {', '.join(failed)}" if failed else "all held")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
