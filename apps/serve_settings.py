"""Settings of the server: flags, or environment variables of the same name.

`--help` and `site_docs/howto/serve.md` list every setting. A value that cannot work is
refused in one sentence before the server starts. A flag beats its variable.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, CliImplicitFlag, SettingsConfigDict

from distrinews.inference.batching import Limits

__all__ = ["PREFIX", "ServeSettings", "environment_help"]

PREFIX = "DISTRINEWS_"
# WHY at most a day: the event loop cannot count to infinity.
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
KEY = re.compile(r"[!-~]{16,}")  # what a header can hold without quotes
ORIGIN = r"https?://[^\s,/*]+"  # as a browser sends it: without a path


class ServeSettings(BaseSettings):
    """What the inference app serves, and how much it takes on.

    Examples:
        >>> ServeSettings(port=8001).port
        8001
    """

    model_config = SettingsConfigDict(
        frozen=True,
        env_prefix=PREFIX,
        # WHY ignore: other variables that begin so belong to the library, such as
        # DISTRINEWS_CACHE.
        extra="ignore",
        cli_kebab_case=True,
        cli_implicit_flags="toggle",
        cli_avoid_json=True,
        cli_hide_none_type=True,
        # "model_" is pydantic's prefix; ours names the model to serve.
        protected_namespaces=(),
    )

    model: str | None = Field(
        default=None, description="the export to serve: its folder, or its run's folder"
    )
    engine: str = Field(
        default="auto",
        description="auto takes the fastest that is right on this machine; or one of "
        "torch-float32, onnx-float32, onnx-int8",
    )
    host: str = Field(
        default="127.0.0.1",
        description="address to listen on; 0.0.0.0 lets other machines in",
    )
    port: int = Field(default=8000, ge=0, le=65535, description="port to listen on")
    root_path: str = Field(
        default="",
        pattern=r"(/[\w.~-]+)*",
        description="prefix of all paths where a proxy puts one before ours, "
        "such as /news",
    )
    trusted_proxies: str = Field(
        default="127.0.0.1",
        description="addresses or networks, with commas, of proxies whose "
        "X-Forwarded-For and X-Forwarded-Proto are believed",
    )
    ui: CliImplicitFlag[bool] = Field(
        default=True,
        description="show the demo page at /ui; it has no key, so with --api-key there "
        "is none",
    )
    api_key: SecretStr | None = Field(
        default=None,
        description="answer only requests with the header Authorization: Bearer KEY; "
        "health checks and the API's description stay open. Better set the variable: "
        "other users of the machine can read a flag",
    )
    cors_origins: str = Field(
        default="",
        pattern=f"({ORIGIN}(,{ORIGIN})*)?",
        description="sites, with commas, whose scripts may ask from a browser, such as "
        "https://me.example",
    )
    max_body_bytes: int = Field(
        default=262_144,
        ge=1024,
        description="a larger request is refused with 413 [bytes]",
    )
    max_characters: int = Field(
        default=20_000,
        ge=1,
        description="a longer text is refused with 422; one that is shorter, but "
        "longer than the model reads, is cut, and the answer says so [characters]",
    )
    max_texts: int = Field(
        default=32,
        ge=1,
        description="texts in one /predict/batch; more get 422; never above "
        "max_waiting [texts]",
    )
    max_stream_texts: int = Field(
        default=1000,
        ge=1,
        description="texts in one /predict/stream; more get 422 [texts]",
    )
    max_streams: int = Field(
        default=8,
        ge=2,
        description="/predict/stream at the same time; more get 503; one client gets "
        "half of them, or less if there are others [streams]",
    )
    max_connections: int = Field(
        default=1000,
        ge=2,
        description="requests on further connections get 503; one address that is no "
        "trusted proxy gets half of them [connections]",
    )
    keep_alive_s: Seconds = Field(
        default=5.0,
        description="an idle connection is closed after this; set it above the idle "
        "timeout of a load balancer [seconds]",
    )
    write_timeout_s: Seconds = Field(
        default=10.0,
        description="a client that has not taken its answer by then is disconnected "
        "[seconds]",
    )
    headers_timeout_s: Seconds = Field(
        default=10.0,
        description="a connection is closed if a request's head has not arrived by "
        "then [seconds]",
    )
    body_timeout_s: Seconds = Field(
        default=10.0,
        description="a request whose body has not arrived by then gets 408 [seconds]",
    )
    deadline_s: Seconds = Field(
        default=10.0,
        description="a request without an answer by then gets 504 [seconds]",
    )
    max_waiting: int = Field(
        default=128,
        ge=1,
        description="texts that wait for the model; more get 503; one client gets "
        "half of them, or less if there are others [texts]",
    )
    max_batch_tokens: int = Field(
        default=2048,
        ge=1,
        description="largest batch of the model, four characters counted as a token "
        "[tokens]",
    )
    max_batch_texts: int = Field(
        default=64, ge=1, description="largest batch, whatever the lengths [texts]"
    )
    max_wait_ms: float = Field(
        # WHY none: 16 clients fall into two groups, and while one is computed, the
        # other's answers and questions travel. With 3 ms they move as one, and the
        # model waits for them all: 1,117 answers in the time of 1,314 (4 rounds of 2 s
        # in turn, minilm, onnx-int8, 2 busy cores).
        default=0.0,
        ge=0,
        le=86_400_000,
        description="wait this long after a batch for more texts; useful where a "
        "batch takes hardly longer than one text, as on a GPU [milliseconds]",
    )
    notice_s: float = Field(
        default=0.0,
        ge=0,
        le=86_400,
        description="after SIGTERM, keep serving for this long while /readyz says 503, "
        "so that a load balancer notices [seconds]",
    )
    drain_s: Seconds = Field(
        default=20.0,
        description="then wait at most this long for requests in flight [seconds]",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="warning leaves out the line per request"
    )

    @model_validator(mode="before")
    @classmethod
    def _leave_out_the_page(cls, values: dict[str, Any]) -> dict[str, Any]:
        """With a key there is no demo page: it would only show that it may not ask."""
        return values | ({"ui": False} if values.get("api_key") else {})

    @field_validator("api_key")
    @classmethod
    def _check_key(cls, key: SecretStr | None) -> SecretStr | None:
        """Refuse a key that is easily guessed, or that no header can hold."""
        if key is not None and not KEY.fullmatch(key.get_secret_value()):
            raise ValueError("needs at least 16 letters, digits or signs, all ASCII")
        return key

    @property
    def max_texts_at_once(self) -> int:
        """Texts that one request may hold."""
        # WHY: a batch that the queue cannot hold would be refused forever.
        return min(self.max_texts, self.max_waiting)

    @property
    def limits(self) -> Limits:
        """What the batcher takes on."""
        return Limits(
            max_batch_tokens=self.max_batch_tokens,
            max_batch_items=self.max_batch_texts,
            max_wait_ms=self.max_wait_ms,
            max_waiting=self.max_waiting,
            deadline_s=self.deadline_s,
        )


def environment_help() -> str:
    """Name the environment variable of each setting.

    Returns:
        Lines for `--help`.
    """
    names = [f"  {PREFIX}{name.upper()}" for name in ServeSettings.model_fields]
    return "\n".join(["Instead of a flag, an environment variable:", *names])
