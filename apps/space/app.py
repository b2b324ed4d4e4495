"""Start the folder that this file lies in as a Hugging Face Space.

On CPU hardware the app runs as on any machine. On ZeroGPU the platform waits for a
report, which its package `spaces` sends when Gradio's `launch()` is called and some
function is decorated for the GPU; so there the same app is launched by Gradio. Answers
are computed on the CPU in both: a headline takes less time than getting a GPU.

Guide: howto/space.
"""

from __future__ import annotations

import os
import pathlib
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serve_settings import ServeSettings

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
        _launch(settings)
    else:
        run(create_app(settings))


def _launch(settings: ServeSettings) -> None:
    """What `server.run` does, by way of Gradio's launch()."""
    import gradio
    from api import create_app, routes
    from demo import ReadOnly
    from starlette.middleware import Middleware
    from telemetry import log, log_as_json

    from distrinews.system import console

    log_as_json(settings.log_level)
    app = create_app(settings, app_class=gradio.Server)
    # WHY: this kind of app brings Gradio's own doors at its root: calls, a queue, an
    # upload. WHY at the end: inside our middleware, which logs and counts.
    own_paths = [route.path for route in routes.routes]
    app.user_middleware.append(Middleware(ReadOnly, except_for=[*own_paths, "/ui"]))
    service, stop = app.state.service, threading.Event()
    service.on_failure = stop.set

    def handle(*_: object) -> None:
        service.start_draining()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
    app.launch(
        server_name=settings.host,
        server_port=settings.port,
        # WHY handed over: launch() puts a lifespan of its own in the place of ours, and
        # the model would never be loaded (gradio 6.31).
        app_kwargs={"lifespan": app.router.lifespan_context},
        prevent_thread_lock=True,
        # WHY no server-side rendering: it would start a Node server in front of ours.
        ssr_mode=False,
        pwa=False,
        run_history=False,
        mcp_server=False,
        enable_monitoring=False,
        quiet=True,
    )
    log.warning("listening", extra={"facts": {"launched_by": "gradio"}})
    stop.wait()
    # WHY by hand: Gradio runs its server in a background thread that knows no signals;
    # left alone, the end of this thread would cut off every request.
    server = app.get_blocks().server
    server.should_exit = True
    server.thread.join(settings.drain_s)
    log.warning("left")
    if service.failure is not None:
        raise service.failure
    console.exit_now(1 if service.state == "failed" else 0)


if __name__ == "__main__":
    from distrinews.system import console

    console.run(main)
