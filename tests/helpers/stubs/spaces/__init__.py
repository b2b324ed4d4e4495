"""What Hugging Face's package `spaces` does at start, and no more.

The real one (0.51.3) needs torch with CUDA. Read there: on ZeroGPU it puts a function
around `gradio.Blocks.launch` that runs once and reports to the platform, unless no
function was decorated. Here the report is a line of a file.
"""

from __future__ import annotations

import functools
import inspect
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

if "torch" in sys.modules:
    raise RuntimeError("spaces must be imported before torch")

decorated: list[str] = []


def GPU(duration: int = 60) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(function):
            raise NotImplementedError("async functions are not supported")
        decorated.append(f"{function.__name__} {duration}")
        return function

    return decorate


def gradio_auto_wrap(task: Any) -> Any:
    """Asked by Gradio for every event; the real one changes nothing by default."""
    return task


def _report_at_launch() -> None:
    import gradio

    launch = gradio.Blocks.launch

    @functools.wraps(launch)
    def launch_and_report(*args: Any, **options: Any) -> Any:
        if decorated:
            report = pathlib.Path(os.environ["STUB_REPORT"])
            with report.open("a", encoding="utf-8") as file:
                file.write(", ".join(decorated) + "\n")
        gradio.Blocks.launch = launch
        return launch(*args, **options)

    gradio.Blocks.launch = launch_and_report


if os.environ.get("SPACES_ZERO_GPU") == "true":
    _report_at_launch()
