"""Figures of hardware that is not here, each as an interval with its source.

Promise: a "measured" or "datasheet" figure quotes what its source says; where nothing
was found, the figure is called "assumed", says why it lies in its interval, and the
interval is wide.

Not here: what follows from them (`distrinews.bench.costmodel.predictions`,
`distrinews.bench.costmodel.many_ranks`).

Guide: benchmarks/cost-model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["A100_NODES", "T4_NODES", "T4_PAIR", "Figure"]


@dataclass(frozen=True)
class Figure:
    """A published number that we did not measure.

    Attributes:
        low: The smallest value that is assumed.
        high: The largest.
        unit: Of both.
        kind: Where it comes from.
        quote: What the source says, or why this interval was assumed.
        source: Its address; "" for what is assumed.
    """

    low: float
    high: float
    unit: str
    kind: Literal["measured", "datasheet", "assumed"]
    quote: str
    source: str = ""


MATRIX_TABLE = (
    "https://github.com/zzc0721/torch-performance-test-data/blob/main/database.md"
)
T4_BRIEF = "https://manualmachine.com/pny/tcst4mpb/8129101-user-manual"
KAPLAN = "https://arxiv.org/abs/2001.08361"

T4_MATRICES = Figure(
    4.17,
    4.43,
    "TFLOP/s",
    "measured",
    "float32 matrix products in PyTorch, the best of five sizes: Tesla T4 on Google "
    "Colab 4.17, on Kaggle 4.43 (the datasheet's peak is 8.1)",
    MATRIX_TABLE,
)
A100_MATRICES = Figure(
    18.11,
    19.18,
    "TFLOP/s",
    "measured",
    "float32 matrix products in PyTorch: A100 40GB 18.11, A100 SXM4 80GB 19.18",
    MATRIX_TABLE,
)
OF_MATRICES = Figure(
    0.4,
    1.0,
    "part",
    "assumed",
    "of the speed of large matrix products: more is impossible; softmax, GELU, layer "
    "norms and small matrices take the rest. No published float32 training speed of "
    "DistilBERT on this GPU was found",
)
LAUNCHES = Figure(
    0.002,
    0.020,
    "s",
    "assumed",
    "what forward and backward take however small the batch: some hundred kernels, at "
    "5 to 50 microseconds from Python each",
)
BACKWARD = Figure(
    0.6,
    0.7,
    "part",
    "assumed",
    "backward multiplies twice where forward does once (Kaplan et al. 2020, section "
    "2.1); our own CPU runs gave 0.65",
    KAPLAN,
)
T4_MEMORY = Figure(
    160.0,
    320.0,
    "GB/s",
    "datasheet",
    '"Peak Memory bandwidth Up to 320 GBytes/s"; down to half of it is assumed',
    T4_BRIEF,
)
A100_MEMORY = Figure(
    780.0,
    1555.0,
    "GB/s",
    "datasheet",
    "a catalogue of GPUs: A100 40GB, 1,555 GB/s; down to half of it is assumed",
    "https://huggingface.co/RajBhope/gpu-runtime-predictor/blob/main/gpu_catalog.json",
)
CONTENTION = Figure(
    0.0,
    0.3,
    "s/s",
    "assumed",
    "nccl's kernels take a few of the GPU's multiprocessors while they run",
)

# Name of the number in the model -> figure.
T4_PAIR = {
    "tflops": T4_MATRICES,
    "part": OF_MATRICES,
    "fixed_s": LAUNCHES,
    "backward_share": BACKWARD,
    "memory_gb_per_s": T4_MEMORY,
    "message_s": Figure(
        10e-6,
        50e-6,
        "s",
        "measured",
        "nccl-tests all_reduce_perf, two Tesla T4, 8 bytes: 20.36 microseconds, which "
        "are two messages; five times as long is assumed in a virtual machine",
        "https://github.com/NVIDIA/nccl/issues/428",
    ),
    "link_gb_per_s": Figure(
        3.9,
        15.75,
        "GB/s",
        "datasheet",
        '"PCI Express Gen3", "NVIDIA supports x8 and x16": at most 15.75 GB/s in each '
        "direction; a quarter of it where the slot is x8 and each byte goes through "
        "the host's memory. No published all-reduce bandwidth of such a pair was found",
        T4_BRIEF,
    ),
    "contention": CONTENTION,
}
T4_NODES = T4_PAIR | {
    "message_s": Figure(
        20e-6,
        100e-6,
        "s",
        "assumed",
        "one message between two machines over TCP; no published figure was found",
    ),
    "link_gb_per_s": Figure(
        30.4 / 8,
        31.4 / 8,
        "GB/s",
        "measured",
        "nccl's bus bandwidth between 2 and 4 nodes with one GPU and 32 Gbit/s "
        "Ethernet each, Google Cloud: 30.4 to 31.4 Gbit/s",
        "https://github.com/NVIDIA/nccl/issues/209",
    ),
}
A100_NODES = T4_PAIR | {
    "tflops": A100_MATRICES,
    "memory_gb_per_s": A100_MEMORY,
    "message_s": Figure(
        5e-6,
        50e-6,
        "s",
        "assumed",
        "one message, most of them within a node over NVLink; no published figure was "
        "found",
    ),
    "link_gb_per_s": Figure(
        29.6,
        57.2,
        "GB/s",
        "measured",
        "nccl's bus bandwidth between AWS p4d.24xlarge (8 A100 and 400 Gbit/s a node): "
        "57.17 on 2 nodes, 29.61 on 4",
        "https://github.com/NVIDIA/nccl/issues/527",
    ),
}
