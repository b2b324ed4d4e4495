"""Decide who may ask: clients with the API key, and scripts of listed sites.

Both are off by default: then every client that reaches the port may ask, but no script
of another site may.

Not here: fair shares of the queue (`distrinews.inference.batching`).
"""

from __future__ import annotations

import hmac
from typing import Annotated

from fastapi import Depends, FastAPI, Security
from fastapi.params import Depends as Dependency
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from problems import ProblemError
from pydantic import SecretStr
from starlette.middleware.cors import CORSMiddleware

__all__ = ["allow_origins", "key_needed"]

BEARER = HTTPBearer(auto_error=False, description="The server's API key")
Given = Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)]


def key_needed(api_key: SecretStr | None) -> list[Dependency]:
    """Make the dependency by which a router answers only requests with the key.

    Args:
        api_key: The key; None lets everybody in.

    Returns:
        For `dependencies`.
    """
    if api_key is None:
        return []
    key = api_key.get_secret_value().encode()

    async def check(given: Given) -> None:
        # WHY compare_digest: `==` takes longer the more of the key is right.
        if given is None or not hmac.compare_digest(given.credentials.encode(), key):
            raise ProblemError("unauthorized", headers={"WWW-Authenticate": "Bearer"})

    return [Depends(check)]


def allow_origins(app: FastAPI, origins: str) -> None:
    """Let scripts of other sites ask, and read the answer, from a browser.

    Args:
        app: The app; middleware that is added later also sees a browser's preflight
            requests.
        origins: The sites, with commas between them; "" allows none.
    """
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins.split(","),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-Request-ID"],
            expose_headers=["Retry-After", "X-Request-ID"],
        )
