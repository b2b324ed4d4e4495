"""Proofs for distrinews.system.gpus: torch may see a GPU that it cannot use."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import fake_gpus
from helpers.fake_gpus import OLD_WHEEL, P100, T4

from distrinews import dist
from distrinews.bench import preflight
from distrinews.dist import process_group
from distrinews.doctor import examination, probe
from distrinews.doctor.findings import judge_pair, judge_torch
from distrinews.errors import SettingsError
from distrinews.system import gpus

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("capability", "arch_list", "expected"),
    [
        ((7, 5), ["sm_70"], True),  # machine code: a higher minor version
        ((7, 0), ["sm_75"], False),  # not a lower one
        ((8, 0), ["sm_75"], False),  # nor another major one
        ((6, 0), ["sm_70", "sm_75", "sm_80"], False),  # the P100 today
        ((6, 0), OLD_WHEEL, True),
        ((8, 0), ["compute_75"], True),  # PTX: anything newer
        ((7, 0), ["compute_75"], False),
        ((9, 0), ["sm_90a"], True),  # this one only
        ((9, 1), ["sm_90a"], False),
        ((9, 1), ["compute_90a"], False),
        ((10, 3), ["sm_100f"], True),  # this family
        ((12, 0), ["compute_100f"], False),
        ((12, 0), ["sm_120"], True),  # three digits: 12.0, not 1.20
        ((8, 7), ["sm_80", "sm_86"], False),  # a Tegra chip
        ((8, 6), ["sm_87"], False),
        ((8, 7), ["sm_87"], True),
        ((6, 0), [], True),  # torch does not say
        ((9, 4), ["gfx942"], True),  # AMD's
    ],
)
def test_kernels_run_where_nvidia_says_so(
    capability: tuple[int, int], arch_list: list[str], expected: bool
) -> None:
    assert gpus.has_kernels(capability, arch_list) is expected


def test_for_machine_code_torchs_own_table_agrees() -> None:
    table: dict[int, Any] = torch.cuda.DEVICE_REQUIREMENT
    for built_for in table:
        for device in table:
            ours = gpus.has_kernels(divmod(device, 10), [f"sm_{built_for}"])
            # WHY not these: torch lets code for 10.1 run on its new name, 11.0.
            if (built_for, device) != (101, 110):
                assert ours is (device in table[built_for]), (built_for, device)


def test_a_p100_is_refused_with_words_and_a_t4_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_gpus.show(monkeypatch, P100, T4)
    assert gpus.usable() == [1]
    reason = gpus.why_unusable(0) or ""
    assert reason.startswith("Tesla P100-PCIE-16GB (sm_60): torch ")
    assert "has no kernels for it, only for sm_75 sm_80" in reason
    # Negative control: a build that has them.
    fake_gpus.show(monkeypatch, P100, T4, arch_list=OLD_WHEEL)
    assert gpus.usable() == [0, 1]


def test_ranks_on_a_p100_take_the_cpu_and_say_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fake_gpus.show(monkeypatch, P100)
    with caplog.at_level(logging.WARNING), dist.setup() as ranks:
        assert ranks.device == dist.current().device == torch.device("cpu")
    [record] = caplog.records
    assert "no kernels for it" in record.getMessage()
    assert "on the CPU, with gloo" in record.getMessage()
    # One T4 does not help the second rank of this machine.
    fake_gpus.show(monkeypatch, T4, P100)
    assert process_group._device(0, 2) == torch.device("cpu")
    assert process_group._device(0, 1) == torch.device("cuda", 0)
    # Negative control: two T4 do.
    fake_gpus.show(monkeypatch, T4, T4)
    assert process_group._device(1, 2) == torch.device("cuda", 1)


def test_a_benchmark_on_a_p100_is_refused_or_runs_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_gpus.show(monkeypatch, P100)
    with pytest.raises(SettingsError, match=r"sees 0 CUDA GPU.*\n.*sm_60.*no kernels"):
        preflight.check_device("cuda", world_size=1)
    assert preflight.check_device("auto", world_size=1) == "cpu"
    fake_gpus.show(monkeypatch, T4)  # negative control
    assert preflight.check_device("cuda", world_size=1) == "cuda"


# --- The doctor -------------------------------------------------------------------


def test_the_doctor_does_not_call_a_p100_usable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Device:
        def __init__(self, number: int) -> None: ...
        def __enter__(self) -> None: ...
        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(torch.cuda, "device", Device)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **how: True)
    fake_gpus.show(monkeypatch, P100)
    [finding] = [f for f in judge_torch(probe.torch_facts()) if f.name == "gpus"]
    assert (finding.level, finding.page) == ("warning", "no-kernel-image")
    assert "sm_60" in finding.text
    assert "GPU T4 x2" in finding.cure
    fake_gpus.show(monkeypatch, T4)  # negative control
    [finding] = [f for f in judge_torch(probe.torch_facts()) if f.name == "gpus"]
    assert (finding.level, finding.text) == ("ok", "Tesla T4")


def test_the_probe_reduces_on_the_ranks_device_and_waits_for_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a fake GPU: its tensors are on the CPU, its calls are noted."""
    happened: list[str] = []
    make = torch.tensor

    class Cuda:
        type = "cuda"

    def on_device(values: list[int], *, device: Any) -> torch.Tensor:
        happened.append(f"tensor on {device.type}")
        return make(values)

    def all_reduce(tensor: torch.Tensor) -> None:
        happened.append("all_reduce")
        tensor += 2

    import torch.distributed as torch_dist

    monkeypatch.setattr(torch, "tensor", on_device)
    monkeypatch.setattr(torch_dist, "all_reduce", all_reduce)
    monkeypatch.setattr(torch_dist, "get_backend_config", lambda: "cpu:gloo,cuda:nccl")
    monkeypatch.setattr(
        torch.cuda, "synchronize", lambda device: happened.append("synchronize")
    )
    device: Any = Cuda()
    probe.add_up(dist.Ranks(0, local_rank=0, world_size=2, device=device))
    record = json.loads(capsys.readouterr().out)
    assert happened == ["tensor on cuda", "all_reduce", "synchronize"]
    assert record == {"sum": 3, "world_size": 2, "device": "cuda", "backend": "nccl"}
    text = judge_pair({**record, "took_s": 9.0}).text
    assert text.endswith("1 + 2 = 3 in 9.0 s, by nccl on cuda")
    # Negative control: on the CPU nobody waits for a GPU.
    happened.clear()
    cpu: Any = torch.device("cpu")
    probe.add_up(dist.Ranks(0, local_rank=0, world_size=2, device=cpu))
    assert happened == ["tensor on cpu", "all_reduce"]
    assert json.loads(capsys.readouterr().out)["backend"] == "gloo"


def test_the_pair_has_longer_where_cuda_must_start() -> None:
    waiting = examination._Probe()
    gpu = {"name": "Tesla T4", "bf16_native": False, "unusable": None}
    for found, at_least_s in (([], 0.0), ([gpu], probe.GPU_TIMEOUT_S)):
        waiting._records = [{"torch": "2.13.0", "gpus": found}]
        assert waiting._has_usable_gpus() is bool(found)
        now_s = examination.time.monotonic()
        deadline_s = waiting._pair_deadline_s(now_s + examination.PROBE_LIMIT_S)
        assert deadline_s - now_s > at_least_s
    # The parent waits longer than the ranks, whose own message is the better one.
    assert examination.GPU_PAIR_LIMIT_S > probe.GPU_TIMEOUT_S
    assert examination.PAIR_LIMIT_S > probe.TIMEOUT_S
    # What `examine` promises with GPUs, with the time to end the probe.
    limits_s = (examination.PROBE_LIMIT_S, examination.GPU_PAIR_LIMIT_S)
    assert sum(limits_s) + examination.TERMINATE_TIMEOUT_S < 100
    # Negative control: a P100's CUDA is not started.
    waiting._records = [{"gpus": [{**gpu, "unusable": "no kernels"}]}]
    assert not waiting._has_usable_gpus()


@pytest.mark.gpu
def test_every_gpu_called_usable_computes() -> None:
    assert gpus.usable()
    for number in gpus.usable():
        assert torch.ones(3, device=f"cuda:{number}").sum().item() == 3


def test_the_helper_needs_no_torch_until_it_is_asked() -> None:
    code = "import sys, distrinews.system.gpus; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
