"""Classify with the Hugging Face Hub's own client: python predict_hub.py [URL]."""

import os
import sys

from huggingface_hub import InferenceClient

url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
# Any word but none: without one, the client sends your token of the Hub, if it has one.
key = os.environ.get("DISTRINEWS_API_KEY", "none")
client = InferenceClient(base_url=url, api_key=key)
for answer in client.text_classification("Oil prices rise", top_k=2):
    print(answer.label, answer.score, sep="\t")
