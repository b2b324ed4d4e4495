"""The page at /docs: the API in one page, without a script.

It loads its style sheet and nothing else, so it works offline. It is made from the
schema that clients read, and explains each kind of problem at the anchor to which the
answer's `type` leads.

Not here: the demo page at /ui (`pages`).
"""

from __future__ import annotations

import html
import json
from typing import Any

from problems import KINDS
from starlette.requests import Request

__all__ = ["render"]


def render(request: Request, *, has_ui: bool) -> str:
    """Write the page.

    Args:
        request: Its app's schema is shown, with the addresses that its client sees.
        has_ui: Whether there is a demo page to point to.

    Returns:
        HTML.
    """
    schema = request.app.openapi()
    host = request.headers.get("host") or "HOST"
    url = f"{request.url.scheme}://{host}{request.scope.get('root_path', '')}"
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width'>",
        "<title>DistriNews API</title>",
        "<link rel='stylesheet' href='static/page.css'></head><body><main>",
        f"<h1>DistriNews {_text(schema['info']['version'])}</h1>",
        f"<p>{_text(schema['info']['summary'])} Ask, and get a class with its "
        "probability. For programs: <a href='openapi.json'>openapi.json</a>.",
        " To try it in the browser: <a href='ui'>the demo page</a>." if has_ui else "",
        "</p>",
    ]
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            parts.append(_operation(path, method, operation, schema, url=url))
    parts.append(_problems())
    parts.append("</main></body></html>")
    return "\n".join(parts)


def _operation(
    path: str,
    method: str,
    operation: dict[str, Any],
    schema: dict[str, Any],
    *,
    url: str,
) -> str:
    title = f"{method.upper()} {path}"
    parts = [
        f"<h2><code>{_text(title)}</code></h2><p>{_text(operation['description'])}</p>"
    ]
    if "requestBody" in operation:
        [content] = operation["requestBody"]["content"].values()
        example = json.dumps(_example(content["schema"], schema))
        key = " --oauth2-bearer KEY" if "security" in operation else ""
        command = f"curl --json '{example}'{key} {url}{path}"
        command += "\n# Windows: see howto/serve"
        parts.append(f"<pre>{_text(command)}</pre>")
    rows = [
        f"<tr><td><code>{status}</code></td><td>{_text(answer['description'])}</td></tr>"
        for status, answer in sorted(operation["responses"].items())
    ]
    head = "<tr><th>Status</th><th>Meaning</th></tr>"
    parts.append(f"<table>{head}{''.join(rows)}</table>")
    return "\n".join(parts)


def _problems() -> str:
    rows = [
        f"<tr id='{name}'><td><code>{kind.status}</code></td><td><code>{name}</code>"
        f"</td><td>{_text(kind.meaning)}</td></tr>"
        for name, kind in KINDS.items()
    ]
    return (
        "<h2>Problems</h2><p>Every error is <code>application/problem+json</code> "
        "(RFC 9457). Its <code>type</code> leads here.</p>"
        f"<table><tr><th>Status</th><th>Kind</th><th>Meaning</th></tr>{''.join(rows)}"
        "</table>"
    )


def _example(part: dict[str, Any], schema: dict[str, Any]) -> Any:
    """An example of what a part of the schema describes."""
    if "$ref" in part:
        name = part["$ref"].rpartition("/")[2]
        return _example(schema["components"]["schemas"][name], schema)
    if "examples" in part:
        return part["examples"][0]
    if part.get("type") == "object":
        fields = part["properties"]
        return {name: _example(fields[name], schema) for name in part["required"]}
    if part.get("type") == "array":
        return [_example(part["items"], schema)]
    return "a text"


def _text(words: str) -> str:
    return html.escape(words)
