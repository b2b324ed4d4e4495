"""Classify each line of a file: python predict_lines.py [URL] < texts > labels."""

import os
import sys

from distrinews_client import Answer, Client

url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
texts = [line.strip() for line in sys.stdin if line.strip()]
with Client(url, api_key=os.environ.get("DISTRINEWS_API_KEY")) as client:
    for line in client.stream(texts):  # answers come while later texts still wait
        label = line.result.label if isinstance(line.result, Answer) else "failed"
        print(label, texts[line.index], sep="\t")
        print(f"\r{line.done} of {line.total}", end="", file=sys.stderr)
print(file=sys.stderr)
