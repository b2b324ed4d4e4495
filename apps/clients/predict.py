"""Classify headlines: python predict.py [--url http://127.0.0.1:8000] "a headline"."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import httpx


def classify(texts: list[str], *, url: str, num_tries: int = 5) -> list[dict[str, Any]]:
    """Ask for all texts at once; when the server is busy, come back when it says.

    Args:
        texts: At most 32.
        url: Where the server is.
        num_tries: How often to ask.

    Returns:
        An answer for each text, in their order.
    """
    for _ in range(num_tries):
        response = httpx.post(f"{url}/predict/batch", json={"texts": texts}, timeout=30)
        if response.status_code != 503:
            break
        time.sleep(float(response.headers.get("Retry-After", "1")))
    if response.is_error:
        problem = response.json()  # RFC 9457: it says what is wrong
        sys.exit(f"{problem['title']}: {problem['detail']} {problem.get('errors', '')}")
    results: list[dict[str, Any]] = response.json()["results"]
    return results


def main() -> None:
    """Classify what the command line holds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("texts", nargs="+")
    arguments = parser.parse_args()
    for text, result in zip(
        arguments.texts, classify(arguments.texts, url=arguments.url), strict=True
    ):
        print(result.get("label", "failed"), text, sep="\t")


if __name__ == "__main__":
    main()
