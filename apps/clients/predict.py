"""Classify texts: python predict.py [--url http://127.0.0.1:8000] "a text" ..."""

from __future__ import annotations

import argparse
import os
import sys

from distrinews_client import Answer, Client, ServerError


def main() -> None:
    """Classify what the command line holds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("texts", nargs="+")
    arguments = parser.parse_args()
    key = os.environ.get("DISTRINEWS_API_KEY")
    with Client(arguments.url, api_key=key) as client:
        try:
            results = client.predict_batch(arguments.texts)
        except ServerError as error:
            sys.exit(str(error))
    for text, result in zip(arguments.texts, results, strict=True):
        label = result.label if isinstance(result, Answer) else "failed"
        print(label, text, sep="\t")


if __name__ == "__main__":
    main()
