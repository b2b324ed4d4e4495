"""Chapter 04 - How gradients meet: DDP, built by hand, variant by variant.

Question  Two ranks computed different gradients from different rows. How do both come
          to hold the mean, and what does torch's DDP do to make that cheap?
Predict   The gradients of minilm are 91 MB. What costs more: 104 small all-reduces
first     or one large one? And can a gradient travel while others are still computed?
Builds on Chapters 02 (all-reduce) and 03 (different rows on every rank).
New here  Buckets, overlap with backward, no_sync; three wrong ways that look right.
Left out  The optimizer: with equal gradients its step is local (chapter 05).

Run       python chapters/04_gradient_sync.py
          python chapters/04_gradient_sync.py --preset tiny --num-ranks 4
Expect    Four variants with torch DDP's gradients (bit for bit with two ranks), their
          times, and three wrong versions caught.
Takes     A minute or two on two CPU cores; --preset tiny: fifteen seconds.
"""

from __future__ import annotations

from distrinews.system import console

console.quiet_interrupts()  # before the slow imports: Ctrl-C ends them quietly

import copy

import torch
from torch.nn.parallel import DistributedDataParallel

from distrinews import dist, sync
from distrinews.bench import grad_sync, results
from distrinews.config.flags import parse
from distrinews.course import lessons
from distrinews.sync import wrong


def learn(ranks: dist.Ranks, settings: lessons.TimingSettings) -> None:
    """What one rank does. Every rank runs exactly these lines."""
    # 1. The same model, other rows ----------------------------------------------
    # WHY the same: averaging keeps equal replicas equal; it never makes them equal.
    net, batches = grad_sync.load_model_and_batches(settings.preset, ranks)

    # --8<-- [start:variants]
    # 2. Every variant gives the same gradients ----------------------------------
    variants = grad_sync.build_variants(net)  # a replica for each
    for variant in variants.values():
        # Forward, backward, average: see distrinews/sync/average.py.
        variant.backward(batches[0])
    gaps = {
        name: grad_sync.largest_difference(variant, variants["torch_ddp"])
        for name, variant in variants.items()
    }
    # --8<-- [end:variants]

    # 3. They differ in time -----------------------------------------------------
    times_ms = grad_sync.measure(variants, batches, num_rounds=settings.num_rounds)
    figures = grad_sync.figures(times_ms, gaps)
    if ranks.is_main:
        print(grad_sync.table(figures))

    # --8<-- [start:wrong]
    # 4. Three wrong variants, caught --------------------------------------------
    # Each takes one step of two micro-batches. Right replicas stay equal to the bit.
    def drift(replica: torch.nn.Module) -> float:
        optimizer = torch.optim.SGD(replica.parameters(), lr=0.1)
        if isinstance(replica, DistributedDataParallel):
            wrong.backward_with_late_sync_flag(
                replica, batches[:2], loss_of=grad_sync.loss_of
            )
        else:
            for number, batch in enumerate(batches[:2]):
                # Only the last micro-batch synchronises; its sum includes the first.
                with sync.no_sync_unless(number == 1, replica=replica):
                    (grad_sync.loss_of(replica, batch) / 2).backward()
        optimizer.step()
        return sync.max_parameter_gap(replica)

    wrappers = {
        "right: distrinews.sync.Overlapped": sync.Overlapped,
        "wrong: averages the parameter": wrong.ParameterReduced,
        "wrong: hook before accumulation": wrong.ReducedBeforeAccumulation,
    }
    drifts = {name: drift(wrap(copy.deepcopy(net))) for name, wrap in wrappers.items()}
    if ranks.world_size > 1:
        late = DistributedDataParallel(copy.deepcopy(net))
        drifts["wrong: flag set after forward"] = drift(late)
    # --8<-- [end:wrong]

    # 5. Compare the replicas ----------------------------------------------------
    if ranks.is_main:
        for name, gap in drifts.items():
            print(f"{name:34} replicas differ by {gap:.1e} after one step")
        wrong_drifts = [drifts[name] for name in drifts if name.startswith("wrong")]
        right = drifts["right: distrinews.sync.Overlapped"] == 0.0
        equal = max(gaps.values()) < 1e-6
        caught = min(wrong_drifts) > 0 or ranks.world_size == 1
        print("verdict:", "as promised" if right and equal and caught else "BROKEN")
        figures = {"rungs": figures, "drift": drifts}
        results.save(settings, "gradient_sync", figures=figures, ranks=ranks)


def main() -> None:
    settings = parse(lessons.TimingSettings, about=__doc__)
    dist.launch(learn, settings, num_ranks=settings.num_ranks)


if __name__ == "__main__":
    console.run(main)
