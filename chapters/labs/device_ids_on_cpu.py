"""device_ids for a model on the CPU: DDP refuses to wrap it.

Symptom   "ValueError: DistributedDataParallel device_ids and output_device arguments
          only work with single-device/multiple-device GPU modules or CPU modules, but
          got device_ids [0], output_device None, and module parameters
          {device(type='cpu')}."
Cause     device_ids names the GPU of a model that lives on one. This one is on the CPU:
          it was never moved to a GPU, or there is none.
Fix       On the CPU, device_ids=None. On a GPU, `model.to(device)` before wrapping.
Detector  DDP's constructor.
Look at   The last words of the message: where the parameters are.
Question  What does this line do on a machine with GPUs if you forget `.to(device)`?
Source    https://github.com/pytorch/pytorch/issues/46821
Concept   understand/data-parallelism
Silent    no
Takes     4 s
"""

from __future__ import annotations

from torch.nn.parallel import DistributedDataParallel

from distrinews import dist
from distrinews.course import labs


def broken(ranks: dist.Ranks) -> float:
    replica = DistributedDataParallel(labs.small_model(), device_ids=[ranks.local_rank])
    labs.loss_on(replica, labs.own_rows(ranks)).backward()
    return labs.gradient_norm(replica)


def fixed(ranks: dist.Ranks) -> float:
    net = labs.small_model()
    on_gpu = next(net.parameters()).is_cuda
    replica = DistributedDataParallel(
        net, device_ids=[ranks.local_rank] if on_gpu else None
    )
    labs.loss_on(replica, labs.own_rows(ranks)).backward()
    return labs.gradient_norm(replica)


def detect(ranks: dist.Ranks, got: float) -> None:
    alone = labs.small_model()
    labs.loss_on(alone, range(16)).backward()
    labs.expect("length of the gradient", got, want=labs.gradient_norm(alone))


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"device_ids and output_device arguments only work with single-device",
)

if __name__ == "__main__":
    LAB.main()
