"""What `python -m distrinews docs` does: build the guide, and show it.

Promise: the site that is built is complete (a broken link, a stale number or a missing
anchor stops it), lies in one folder, and needs no internet: any server of files will
do. The one here listens on this machine only.

Not here: what the pages are made from (`site_docs/_tools`, `mkdocs.yml`).

Guide: howto/site.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import http.server
import importlib.util
import os
import pathlib
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from typing import Any

from pydantic import Field

from distrinews.config.command_settings import CommandSettings
from distrinews.config.flags import parse
from distrinews.errors import OutputError, SettingsError, SetupError

__all__ = ["DocsSettings", "build", "served", "server"]

# What hosts of static sites pack on the way.
COMPRESSED_TYPES = ("text/", "application/json", "image/svg+xml")
ROOT = pathlib.Path(__file__).resolve().parents[2]


class DocsSettings(CommandSettings):
    """How the guide is built and shown.

    Examples:
        >>> DocsSettings().out
        'site'
    """

    out: str = Field(
        "site", min_length=1, description="the folder to build into; it is replaced"
    )
    renew: bool = Field(
        False,
        description="write the generated parts anew; without it a stale one is refused",
    )
    serve: bool = Field(
        False, description="then show it in a browser on this machine, until Ctrl-C"
    )
    port: int = Field(
        8008, ge=0, le=65535, description="of --serve; 0 takes a free one"
    )


def build(arguments: Sequence[str]) -> None:
    """Build the guide as the flags say.

    Args:
        arguments: What follows `python -m distrinews docs`.

    Raises:
        SettingsError: A flag is not usable, or the port is taken.
        SetupError: This is no checkout, or MkDocs is not installed.
        OutputError: A generated part is stale, or MkDocs refuses a page.
        KeyboardInterrupt: Ctrl-C while it builds; once it serves, that ends it.
    """
    settings = parse(DocsSettings, about=__doc__ or "", arguments=arguments)
    _check_setup()
    http_server = server(settings.out, port=settings.port) if settings.serve else None
    try:
        _make_pages(renew=settings.renew)
        _build_pages(settings.out)
        if http_server is not None:
            print(
                f"http://127.0.0.1:{http_server.server_port}/  (Ctrl-C ends it)",
                flush=True,
            )
            http_server.serve_forever()
    except KeyboardInterrupt:
        if http_server is None:
            raise  # a build that was broken off; else it is how one leaves
    finally:
        if http_server is not None:
            http_server.server_close()


def server(folder: str | pathlib.Path, *, port: int) -> http.server.ThreadingHTTPServer:
    """Open a server of a folder's files, for this machine only.

    Args:
        folder: Where `index.html` lies; read at each request.
        port: To listen on; 0 takes a free one.

    Returns:
        The server, listening; `serve_forever` answers.

    Raises:
        SettingsError: The port is taken or not allowed.

    Examples:
        >>> with server("site", port=0) as opened:
        ...     opened.server_address[0]
        '127.0.0.1'
    """
    handler = functools.partial(_FileHandler, directory=str(folder))
    try:
        return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise SettingsError(
            f"--port {port} cannot be opened: {error.strerror}.",
            why="there would be nothing to look at.",
            fix="--port 0, which takes a free one.",
            page="settings",
        ) from None


@contextlib.contextmanager
def served(folder: str | pathlib.Path) -> Generator[str, None, None]:
    """Serve a folder's files in a thread, as long as it takes.

    Args:
        folder: Where `index.html` lies.

    Yields:
        The address, without a slash at its end.
    """
    with server(folder, port=0) as opened:
        thread = threading.Thread(target=opened.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{opened.server_port}"
        finally:
            opened.shutdown()
            thread.join()


class _FileHandler(http.server.SimpleHTTPRequestHandler):
    """Files as a host of static sites serves them, and quietly."""

    # WHY by hand: Windows looks these up in its registry, where some programs have put
    # text/plain for .js, and a browser refuses a module of that type.
    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {
        ".css": "text/css",
        ".js": "text/javascript",
        ".json": "application/json",
        ".svg": "image/svg+xml",
    }

    def handle(self) -> None:
        """Answer, and leave a browser alone that has gone to another page."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        """Answer with a file, packed if the browser can unpack it."""
        path = pathlib.Path(self.translate_path(self.path))
        if path.is_dir() and self.path.partition("?")[0].endswith("/"):
            path /= "index.html"
        content_type = self.guess_type(str(path))
        accepts_gzip = "gzip" in self.headers.get("Accept-Encoding", "")
        if not (
            accepts_gzip
            and path.is_file()
            and content_type.startswith(COMPRESSED_TYPES)
        ):
            super().do_GET()
            return
        content = gzip.compress(path.read_bytes(), compresslevel=6)
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Encoding", "gzip")
        self._send(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: a page asks for ten files."""

    def send_error(
        self, code: int, message: str | None = None, explain: str | None = None
    ) -> None:
        """Answer with the site's own page if there is no such file."""
        not_found_page = pathlib.Path(self.directory) / "404.html"
        if code != 404 or not not_found_page.is_file():
            super().send_error(code, message, explain)
            return
        content = not_found_page.read_bytes()
        self.send_response(404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self._send(content)

    def _send(self, content: bytes) -> None:
        """End the answer."""
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _check_setup() -> None:
    if not (ROOT / "mkdocs.yml").is_file():
        raise SetupError(
            f"{ROOT} holds no mkdocs.yml: distrinews is installed here without its "
            "guide.",
            why="the guide's pages are not part of the package.",
            fix="get the repository; in it: "
            'pip install -c constraints.txt -e ".[docs]"',
            page="site",
        )
    missing = [
        name
        for name in ("mkdocs", "material", "mkdocstrings", "htmlproofer")
        if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise SetupError(
            f"not installed: {', '.join(missing)}.",
            why="MkDocs and its parts build the guide.",
            fix=f'{sys.executable} -m pip install -c constraints.txt -e ".[docs]"',
            page="site",
        )


def _make_pages(*, renew: bool) -> None:
    """Write what is generated, or refuse what is stale."""
    completed = _run("site_docs/_tools/make_pages.py", *([] if renew else ["--check"]))
    output = completed.stdout.strip()
    if completed.returncode:
        raise OutputError(
            f"make_pages.py: {output or 'failed'}.",
            why="the guide would show what is no longer true.",
            fix="read the message above."
            if renew
            else "--renew, then look at git diff.",
            page="site",
        )
    if renew and output:
        print(f"make_pages.py wrote {', '.join(output.split())}", flush=True)


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        # WHY an encoding: into a pipe Windows' Python writes the system's code page.
        env=os.environ
        | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
        | {"PYTHONIOENCODING": "utf-8:backslashreplace"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


def _build_pages(out: str) -> None:
    """Run MkDocs, strictly."""
    # WHY not --quiet: MkDocs then does not count its warnings, and strict is no more.
    completed = _run(
        *("-m", "mkdocs", "build", "--strict"),
        *("--config-file", str(ROOT / "mkdocs.yml")),
        *("--site-dir", str(pathlib.Path(out).resolve())),
    )
    for line in completed.stdout.splitlines():
        if line.strip() and not line.startswith("INFO"):
            print(line, file=sys.stderr, flush=True)
    if completed.returncode:
        raise OutputError(
            "MkDocs refuses a page; its messages stand above.",
            why="a strict build lets no broken link and no missing anchor through.",
            fix="correct the page that is named.",
            page="site",
        )
    print(f"{out} is built; any server of files can show it.", flush=True)
