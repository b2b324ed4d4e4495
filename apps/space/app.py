"""Start this file's folder as a Hugging Face Space.

On CPU hardware and on ZeroGPU the app runs as on any machine. ZeroGPU also waits for a
report, which its package `spaces` sends when Gradio's `launch()` is called and some
function is decorated for the GPU. So on ZeroGPU only, this file imports Gradio,
launches an empty page that cannot be reached from outside, and closes it. Both kinds
compute answers on the CPU: a short text takes less time than waiting for a GPU.

Guide: howto/space.
"""

from __future__ import annotations

import os
import pathlib

IS_ZERO_GPU = os.environ.get("SPACES_ZERO_GPU", "").lower() in {"1", "t", "true"}
if IS_ZERO_GPU:
    import spaces  # WHY first: it replaces parts of torch, and must come before its use

    @spaces.GPU(duration=5)
    def gpu_name() -> str:
        """Name the GPU. Never called: that it exists is what ZeroGPU asks for."""
        import torch

        return torch.cuda.get_device_name()


def main() -> None:
    """Serve until the platform stops this process."""
    from api import create_app
    from serve_settings import ServeSettings
    from server import run
    from space_model import find_model

    settings = ServeSettings(
        model=str(find_model(pathlib.Path(__file__).resolve().parent)),
        host=os.environ.get("GRADIO_SERVER_NAME", "0.0.0.0"),
        port=int(os.environ.get("GRADIO_SERVER_PORT", "7860")),
    )
    if IS_ZERO_GPU:
        _report_to_zero_gpu()
    run(create_app(settings))


def _report_to_zero_gpu() -> None:
    """Have the package `spaces` send its report."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    import gradio

    with gradio.Blocks(analytics_enabled=False) as page:
        pass
    # Without a port Gradio would take the Space's.
    page.launch(
        server_name="127.0.0.1",
        server_port=_free_port(),
        prevent_thread_lock=True,
        ssr_mode=False,
        quiet=True,
    )
    page.close(verbose=False)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    from distrinews.system import console

    console.run(main)
