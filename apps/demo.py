"""The demo page: type a headline or pick one, see a bar for each class.

Promise: the page is a client like any other. The browser sends what is typed to
/predict and nowhere else, so limits, deadlines, metrics and logs are those of the
service. What goes wrong is told in a sentence of the page, never in a red box. Nothing
typed is stored: no flagging, no run history, no analytics, no upload, and no request
to another origin.

Not here: the service (`api`), the Space (`space/app.py`).

Guide: howto/space.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from problems import ProblemError, answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    import gradio as gr
    from fastapi import FastAPI
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["EXAMPLES", "ReadOnly", "build", "mount"]

# Written for this page: one per class, and two that two classes could claim.
EXAMPLES = (
    "Peace talks resume as both sides agree to open the border crossing",
    "Striker scores twice as champions win the cup final in extra time",
    "Central bank raises interest rates as inflation and oil prices climb",
    "Space probe sends first pictures from an icy moon of Saturn",
    "Football club sells its stadium to a bank to pay back its loans",
    "Parliament votes on a law against spam and computer viruses",
)
TOO_LONG = "This text is too long. A headline is enough."
# By the HTTP status of the answer: what its problem document tells programs.
SENTENCES = {
    "400": "This text holds characters that cannot be read.",
    "413": TOO_LONG,
    "422": "This text cannot be read: it is too long, or some characters are broken.",
    "429": "Many people are asking right now. Please try again in a few seconds.",
    "503": "The model is starting or busy. Please try again in a few seconds.",
    "504": "This took too long and was given up. Please try again.",
    "empty": "Type a headline first: there is nothing to classify yet.",
    "long": TOO_LONG,
    "reading": "Reading …",
    "truncated": "Longer than what the model reads: only its beginning counted.",
    "failed": "Something went wrong on our side. Please try again.",
    "lost": "The service did not answer. Are you online? Please try again.",
}
# WHY JavaScript and no Python function behind the page: Gradio would put a queue, an
# upload and error messages of its own in front of the service, and prints what was
# typed into the log when an input does not fit (seen in 6.31).
# WHY "../predict": it is right under any prefix that a proxy puts in front.
ASK = """
const SENTENCES = %(sentences)s;
const NO_BARS = {};
const MAX_TYPED = 100000;     // far above the service's limit, far below a slow upload
const PATIENCE_MS = 60000;   // above the service's own deadline

async function distrinewsAsk(text) {
  if (!(text ?? "").trim()) return [NO_BARS, SENTENCES.empty];
  if (text.length > MAX_TYPED) return [NO_BARS, SENTENCES.long];
  const began = performance.now();
  let answer;
  try {
    const response = await fetch("../predict", {
      method: "POST",
      headers: {"Content-Type": "application/json"},
      body: JSON.stringify({text}),
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    if (!response.ok) return [NO_BARS, SENTENCES[response.status] ?? SENTENCES.failed];
    answer = await response.json();
  } catch { return [NO_BARS, SENTENCES.lost]; }
  const seconds = ((performance.now() - began) / 1000).toFixed(2);
  const bars = Object.entries(answer.scores)
    .map(([label, confidence]) => ({label, confidence}))
    .sort((one, other) => other.confidence - one.confidence);
  const cut = answer.truncated ? " " + SENTENCES.truncated : "";
  return [{label: answer.label, confidences: bars},
          `Answered in ${seconds} seconds.${cut}`];
}
"""
ABOUT = """# Which kind of news is it?
A small language model, trained by several processes at once, puts a headline into one
of four classes. Nothing you type is stored. Programs ask [the API](../docs).
"""
ICON = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">
<path fill="#f97316" d="M2 6h19v5H2zM2 14h13v5H2zM2 22h27v5H2z"/></svg>"""
CSS = """
.gradio-container { max-width: 46rem !important; margin: 0 auto; }
.example { white-space: normal; text-align: left; justify-content: flex-start; }
#note { min-height: 1.6em; }
"""
# WHY a policy and not only care: it makes "no request to another origin" a fact that
# the browser enforces, whatever a later Gradio adds. Its page evaluates inline scripts.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; object-src 'none'; base-uri 'self'; form-action 'self'"
)


def build() -> gr.Blocks:
    """Make the page.

    Returns:
        The page, to be mounted by `mount`, which adds the script that it needs.

    Raises:
        ModuleNotFoundError: Gradio is not installed.
    """
    gr = _gradio()
    with gr.Blocks(title="DistriNews", analytics_enabled=False) as page:
        gr.Markdown(ABOUT)
        box = gr.Textbox(
            label="Headline",
            placeholder="Type or paste a headline, in English",
            # WHY one: Enter sends then, as in a search field. The box still grows.
            lines=1,
            max_lines=6,
            autofocus=True,
            submit_btn="Classify",
        )
        note = gr.Markdown(elem_id="note")
        bars = gr.Label(label="Probability of each class", num_top_classes=4)
        reading = f"() => {json.dumps(SENTENCES['reading'])}"
        classify_event: dict[str, Any] = {
            "fn": None,
            "js": "distrinewsAsk",
            "inputs": box,
            "outputs": [bars, note],
        }
        box.submit(fn=None, js=reading, outputs=note).then(**classify_event)
        gr.Markdown("Or pick one:")
        for text in EXAMPLES:
            button = gr.Button(text, size="sm", elem_classes="example")
            fill = f"() => {json.dumps([text, SENTENCES['reading']])}"
            button.click(fn=None, js=fill, outputs=[box, note]).then(**classify_event)
    return page


def mount(app: FastAPI, path: str = "/ui") -> FastAPI:
    """Put the page on an app that answers POST /predict.

    Why not at "/": Gradio would answer every unknown path and method there, and a GET
    of /predict would be "not found" instead of "method not allowed".

    Args:
        app: Gets the page.
        path: Where.

    Returns:
        The app.

    Raises:
        ModuleNotFoundError: Gradio is not installed.
    """
    gr = _gradio()
    from starlette.middleware import Middleware

    script = ASK % {"sentences": json.dumps(SENTENCES)}
    # WHY: browsers ask for it at this place, where a mounted Gradio does not answer.
    app.add_api_route("/favicon.ico", _icon, include_in_schema=False)
    system = ["ui-sans-serif", "system-ui", "sans-serif"]
    mono = ["ui-monospace", "monospace"]
    return gr.mount_gradio_app(
        app,
        build(),
        path=path,
        app_kwargs={"middleware": [Middleware(ReadOnly)]},
        theme=gr.themes.Default(font=system, font_mono=mono),
        css=CSS,
        head=f"<script>{script}</script>",
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        ssr_mode=False,
        pwa=False,
        show_error=False,
    )


def _gradio() -> Any:
    """Gradio, told before its import to report nothing to its makers."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import gradio

    return gradio


async def _icon() -> Response:
    from starlette.responses import Response

    return Response(ICON, media_type="image/svg+xml")


class ReadOnly:
    """Around Gradio: only reading, and a content policy on every answer.

    Why: a page without Python functions needs no POST, and yet Gradio would take calls,
    write uploads to the disk and repeat in errors and logs what was sent.

    Args:
        app: Gradio's.
        except_for: Paths that are not Gradio's, and what is below them: left alone.
    """

    def __init__(self, app: ASGIApp, except_for: Sequence[str] = ()) -> None:
        self.app, self.except_for = app, except_for

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] != "http" or self._is_excepted(scope["path"]):
            await self.app(scope, receive, send)
            return
        if scope["method"] not in {"GET", "HEAD"}:
            allowed = {"Allow": "GET, HEAD"}
            refusal = ProblemError("method-not-allowed", headers=allowed)
            await answer(refusal)(scope, receive, send)
            return

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", POLICY.encode())
                message["headers"] = [*message["headers"], policy]
            await send(message)

        await self.app(scope, receive, send_with_policy)

    def _is_excepted(self, path: str) -> bool:
        return any(path == p or path.startswith(f"{p}/") for p in self.except_for)
