"""The same pipeline in LitServe, with batching as its documentation shows it.

Run: `python litserve_server.py MODEL PORT`.
"""

from __future__ import annotations

import sys
from typing import Any

import litserve
from transformers import pipeline

# The load test has so many connections, so a batch can never be larger.
MAX_BATCH_SIZE = 16


class Api(litserve.LitAPI):
    """The model; LitServe runs it in a process of its own."""

    def setup(self, device: str) -> None:
        """Load it."""
        self.classify = pipeline("text-classification", model=sys.argv[1])

    def decode_request(self, request: dict[str, str]) -> str:
        """Take the text."""
        return request["text"]

    def predict(self, texts: list[str]) -> list[dict[str, Any]]:
        """Classify a batch."""
        size = len(texts)
        predictions: list[dict[str, Any]] = self.classify(
            texts, batch_size=size, truncation=True
        )
        return predictions

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """Give it back."""
        return output


if __name__ == "__main__":
    api = Api(max_batch_size=MAX_BATCH_SIZE, batch_timeout=0.01)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False)
