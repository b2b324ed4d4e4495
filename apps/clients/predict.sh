#!/usr/bin/env bash
# Classify a headline:  bash predict.sh [http://127.0.0.1:8000]
set -euo pipefail
url=${1:-http://127.0.0.1:8000}

# --oauth2-bearer: the API key, for a server that has one.
# --retry: come back after 503, as late as the server asks (Retry-After).
# --fail: an error ends with code 22; leave it out to read what the server explains.
curl --silent --show-error --fail --retry 5 --max-time 30 \
    ${DISTRINEWS_API_KEY:+--oauth2-bearer "$DISTRINEWS_API_KEY"} \
    --header "Content-Type: application/json" \
    --data '{"text": "Oil prices rise as a storm nears the coast"}' \
    "$url/predict"
