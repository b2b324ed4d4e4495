"""What every command's settings have in common.

Promise: settings come from the command line and the constructor, nothing else, and
cannot change under way.

Not here: which settings there are (`distrinews.config.settings` and its likes), the
flags (`distrinews.config.flags`), the server's settings, which do come from the
environment (`apps/serve_settings.py`).

Guide: reference/settings.
"""

from __future__ import annotations

from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

__all__ = ["CommandSettings"]


class CommandSettings(BaseSettings):
    """Base class of settings from which a command line derives.

    Examples:
        >>> class Mine(CommandSettings):
        ...     seed: int = 0
        >>> Mine(seed=3).seed
        3
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        cli_kebab_case=True,
        cli_implicit_flags="toggle",
        cli_avoid_json=True,
        cli_hide_none_type=True,
        populate_by_name=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values from the command line and the constructor, nothing else.

        Returns:
            The sources in use.
        """
        # WHY no environment variables: pydantic-settings would read one called SEED or
        # DATA, and a run would silently differ from its command line.
        return (init_settings,)
