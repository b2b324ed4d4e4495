"""Fetch a repository from the Hugging Face Hub once, then use the copy on this disk.

Promise: a copy that is already here is used without a single network request; where
there is none and the Hub does not answer, you learn it within 10 seconds, together
with the ways to work offline. `HF_ENDPOINT`, `HF_HOME`, `HF_TOKEN` and
`HF_HUB_OFFLINE` mean what they mean to `huggingface_hub`.

Not here: what the files hold (`distrinews.data.sources`, `distrinews.model`).
Guide: troubleshooting/#hub-unreachable.
"""

from __future__ import annotations

import http.client
import json
import threading
from fnmatch import fnmatch
from pathlib import Path
from typing import NoReturn

from distrinews.errors import HubUnreachableError

__all__ = ["check_reachable", "snapshot"]

# WHY 5: a Hub that answers does so in well under a second. A request waits at most
# this long for each of its steps, and `_ANSWER_DEADLINE_S` bounds all steps together,
# also the name look-up, for which Python knows no timeout.
PROBE_TIMEOUT_S = 5.0
_ANSWER_DEADLINE_S = 8.0


def snapshot(
    repo_id: str,
    *,
    repo_type: str,
    allow_patterns: list[str] | None = None,
    revision: str | None = None,
) -> Path:
    """Return the local folder of a Hub repository; download it if it is not here.

    Args:
        repo_id: As on the Hub, e.g. `"fancyzhx/ag_news"`.
        repo_type: `"dataset"` or `"model"`.
        allow_patterns: Only files that match one of these, e.g. `["*.json"]`; None for
            all. A cached copy counts only if it has a file for every pattern.
        revision: A commit; None for the newest.

    Returns:
        The snapshot folder. Its name is the commit, so it can stand in a fingerprint.

    Raises:
        HubUnreachableError: No copy here, and the Hub refused, did not answer or broke
            off. On this rank only: let one rank download, the others wait for it.

    Note:
        Cost: a few file look-ups when cached; else one probe, then the download.
    """
    cached = _cached_snapshot(repo_id, repo_type, allow_patterns, revision)
    if cached is not None:
        return cached
    check_reachable(
        repo_id, repo_type=repo_type, allow_patterns=allow_patterns, revision=revision
    )
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            repo_id,
            repo_type=repo_type,
            allow_patterns=allow_patterns,
            revision=revision,
        )
    except Exception as error:
        # WHY every kind: what arrives here depends on the HTTP library below
        # huggingface_hub (requests, httpx, httpx2 so far), and each has its own tree of
        # errors. None of them is a mistake of this program's.
        reason = f"the download broke off: {_describe(error)}"
        _raise_unreachable(repo_id, repo_type, reason, error)
    return Path(folder)


def _cached_snapshot(
    repo_id: str,
    repo_type: str,
    allow_patterns: list[str] | None,
    revision: str | None,
) -> Path | None:
    """The copy of a repository that is on this disk, if it is complete: no network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(
            snapshot_download(
                repo_id,
                repo_type=repo_type,
                allow_patterns=allow_patterns,
                revision=revision,
                local_files_only=True,
            )
        )
    except LocalEntryNotFoundError:
        return None
    # WHY look again: without a saved file list (older libraries, copies made by hand)
    # the library returns any folder it finds, also one that holds a lone config.json.
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
    for pattern in allow_patterns or ["*"]:
        if not any(fnmatch(name, pattern) for name in names):
            return None
    return folder


def check_reachable(
    repo_id: str,
    *,
    repo_type: str,
    allow_patterns: list[str] | None = None,
    revision: str | None = None,
) -> None:
    """Make sure that `snapshot` will find a copy here or a Hub that answers.

    Why: called before any process starts, it turns minutes of retries on every rank
    into one message.

    Args:
        repo_id: As on the Hub.
        repo_type: `"dataset"` or `"model"`.
        allow_patterns: As for `snapshot`.
        revision: As for `snapshot`.

    Raises:
        HubUnreachableError: Neither. Within 10 seconds.

    Note:
        Cost: nothing but file look-ups when cached; else one request.
    """
    if _cached_snapshot(repo_id, repo_type, allow_patterns, revision):
        return
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        reason = "HF_HUB_OFFLINE is set, and this disk holds no complete copy"
        _raise_unreachable(repo_id, repo_type, reason)
    # WHY ask once more: the download's own first request has no timeout (seen in
    # huggingface_hub 2.4); a Hub that accepts and never answers would hold it forever.
    problem = _probe(repo_id, repo_type, revision)
    if problem is not None:
        reason, error = problem
        _raise_unreachable(repo_id, repo_type, f"{constants.ENDPOINT}: {reason}", error)


def _probe(
    repo_id: str, repo_type: str, revision: str | None
) -> tuple[str, Exception | None] | None:
    """Ask what the repository holds; say what went wrong, or None."""
    # WHY by huggingface_hub: it sends the user's token and takes the proxies and
    # certificates that the download will take. Without a token a Hub that limits
    # requests refuses what it would give.
    from huggingface_hub import HfApi

    outcome: list[tuple[str, Exception | None] | None] = []

    def request() -> None:
        try:
            HfApi().repo_info(
                repo_id, repo_type=repo_type, revision=revision, timeout=PROBE_TIMEOUT_S
            )
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            # The log-in page of a hotel network also says 200 OK.
            outcome.append(("what answered is not the Hub (a log-in page?)", error))
        except Exception as error:  # of httpx, httpx2, requests, ...
            outcome.append((_describe(error), error))
        else:
            outcome.append(None)

    # WHY a thread and not the timeout alone: that one bounds each single wait. A dead
    # name server or a server that sends a byte now and then would hold us longer.
    # WHY a daemon: one that still waits must not keep the program from ending.
    thread = threading.Thread(target=request, daemon=True)
    thread.start()
    thread.join(_ANSWER_DEADLINE_S)
    if not outcome:
        return f"no answer within {_ANSWER_DEADLINE_S:.0f} s", None
    return outcome[0]


def _status(error: BaseException | None) -> int | None:
    """The status of the answer that led to an error; None if there was no answer."""
    while error is not None:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
        error = error.__cause__
    return None


def _describe(error: Exception) -> str:
    """What happened, in a line; huggingface_hub's own texts have many."""
    status = _status(error)
    if status is None:
        return f"{type(error).__name__}: {error}"
    return f"the Hub answered {status} {http.client.responses.get(status, '')}".strip()


def _token_advice(status: int | None) -> str:
    """What a token could change about a refusal."""
    if status not in (401, 403, 429):
        return ""
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN or get_token() is None:
        return (
            "set HF_TOKEN to a token of yours (huggingface.co/settings/tokens), or: hf "
            "auth login. Without one the Hub allows fewer requests. Or: "
        )
    if status == 429:
        return "wait some minutes: your token's requests are used up. Or: "
    return "the token that was sent (HF_TOKEN, or hf auth login) is refused: renew it. "


def _raise_unreachable(
    repo_id: str, repo_type: str, reason: str, cause: Exception | None = None
) -> NoReturn:
    advice = _token_advice(_status(cause))
    alternative = "--data newswire" if repo_type == "dataset" else "--preset minilm"
    flag = " --repo-type dataset" if repo_type == "dataset" else ""
    raise HubUnreachableError(
        f"cannot get {repo_type} {repo_id!r} from the Hugging Face Hub ({reason}).",
        why="nothing is cached on this machine, so there is nothing to train with.",
        fix=f"{advice}{alternative} needs no Hub. Or, on a machine with internet: "
        f"hf download {repo_id}{flag}; copy its ~/.cache/huggingface here, then set "
        "HF_HOME to that folder and HF_HUB_OFFLINE=1.",
        page="hub-unreachable",
    ) from cause
