"""Chapter 04 - How gradients meet: DDP, built by hand, variant by variant.

Question  Two ranks computed different gradients from different rows. How do both get
          the mean, and how does torch's DDP make that cheap?
Predict   The gradients of minilm are 91 MB. What costs more: 104 small all-reduces
first     or one large one? Can a gradient be sent while others are still computed?
Builds on Chapters 02 (all-reduce) and 03 (different rows on every rank).
New here  Buckets, overlap with backward, no_sync; three wrong ways that look right.
Left out  The optimizer: with equal gradients its step is local (chapter 05).

Run       python chapters/04_gradient_sync.py
          python chapters/04_gradient_sync.py --preset tiny --num-ranks 4
Expect    Four variants by hand with torch DDP's gradients (bit for bit with two ranks),
          their times, and three wrong versions caught.
Takes     A minute or two on two CPU cores; --preset tiny: fifteen seconds.
"""

from __future__ import annotations

from distrinews.system import console

console.quiet_interrupts()  # before the slow imports: Ctrl-C ends them quietly

import copy
from collections.abc import Callable

import torch
import torch.distributed as torch_dist
from torch import nn

from distrinews import dist
from distrinews.bench import grad_sync, results
from distrinews.config.flags import parse
from distrinews.course import lessons
from distrinews.sync import wrong


# --8<-- [start:by-hand]
# 1. By hand, after backward(): every rank has the gradients of its own rows ---------
def average_naively(gradients: list[torch.Tensor]) -> None:
    for gradient in gradients:
        torch_dist.all_reduce(gradient)  # the sum over all ranks, on every rank
        gradient /= torch_dist.get_world_size()


def average_flat(gradients: list[torch.Tensor]) -> None:
    # Each all-reduce costs a fixed time, because all ranks must join it.
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    torch_dist.all_reduce(flat)
    flat /= torch_dist.get_world_size()
    parts = flat.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def average_in_buckets(gradients: list[torch.Tensor]) -> None:
    bucket_bytes = 25 * 2**20  # as DDP's bucket_cap_mb
    # From the end: backward finishes the last layer first, so it could be sent first.
    bucket: list[torch.Tensor] = []
    for number, gradient in reversed(list(enumerate(gradients))):
        bucket.append(gradient)
        if number == 0 or sum(each.nbytes for each in bucket) >= bucket_bytes:
            average_flat(bucket)
            bucket.clear()


def average_in_hooks(net: nn.Module) -> Callable[[list[torch.Tensor]], None]:
    travelling: list[torch_dist.Work] = []

    def start(param: torch.Tensor) -> None:  # called while backward() still runs
        travelling.append(torch_dist.all_reduce(param.grad, async_op=True))

    for param in net.parameters():
        # After accumulation: before, it is the gradient of this micro-batch only.
        param.register_post_accumulate_grad_hook(start)

    def finish(gradients: list[torch.Tensor]) -> None:  # called after it
        while travelling:
            travelling.pop().wait()
        for gradient in gradients:
            gradient /= torch_dist.get_world_size()

    return finish


# --8<-- [end:by-hand]
def learn(ranks: dist.Ranks, settings: lessons.TimingSettings) -> None:
    """What one rank does. Every rank runs exactly these lines."""
    # The same model: averaging keeps equal replicas equal, it never makes them equal.
    net, batches = grad_sync.load_model_and_batches(settings.preset, ranks)

    # 2. Every variant gives the same gradients, in its own time -------------------
    hooked = copy.deepcopy(net)
    variants = {
        "naive": grad_sync.Variant(copy.deepcopy(net), average_naively),
        "flat": grad_sync.Variant(copy.deepcopy(net), average_flat),
        "bucketed": grad_sync.Variant(copy.deepcopy(net), average_in_buckets),
        "hooks": grad_sync.Variant(hooked, average_in_hooks(hooked)),
        **grad_sync.build_library_variants(net),  # hooks and buckets: ours, torch's
    }
    for variant in variants.values():
        variant.backward(batches[0])  # zero_grad, forward, backward, average
    ddp = variants["torch_ddp"]
    gaps = {n: grad_sync.largest_difference(v, ddp) for n, v in variants.items()}
    times_ms = grad_sync.measure(variants, batches, num_rounds=settings.num_rounds)
    figures = grad_sync.figures(times_ms, gaps)

    # 3. Three wrong variants: equal replicas drift apart in one step ----------------
    drifts = wrong.drifts(net, batches[:2], loss_of=grad_sync.loss_of)
    if ranks.is_main:
        print(grad_sync.table(figures), wrong.table(drifts), sep="\n\n")
        written = {"rungs": figures, "drift": drifts}
        results.save(settings, "gradient_sync", figures=written, ranks=ranks)
    exactly = ranks.world_size == 2  # more ranks may add up in another order
    equal = max(gaps.values()) <= (0.0 if exactly else 1e-6)
    promise = "all variants have DDP's gradients" + ", bit for bit" * exactly
    lessons.verdict(promise, held=equal, ranks=ranks)
    right, *wrongs = drifts.values()
    caught = right == 0.0 < min(wrongs)
    lessons.verdict("only wrong variants let replicas drift", held=caught, ranks=ranks)


def main() -> None:
    settings = parse(lessons.TimingSettings, about=__doc__)
    num_ranks = lessons.require_ranks(settings)
    dist.launch(learn, settings, num_ranks=num_ranks)


if __name__ == "__main__":
    console.run(main)
