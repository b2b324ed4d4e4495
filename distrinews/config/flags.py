"""From a settings model to a command line: its fields are the flags.

Promise: `--help` lists every setting with its default and unit, and a wrong value is
refused in one sentence that names its flag, before any process starts.

Not here: the settings themselves (`distrinews.config.settings`).

Guide: reference/settings.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, CliApp, CliSettingsSource

from distrinews.errors import SettingsError

__all__ = ["parse"]

Settings = TypeVar("Settings", bound=BaseSettings)


def parse(
    settings_class: type[Settings],
    *,
    about: str,
    arguments: Sequence[str] | None = None,
) -> Settings:
    """Read the settings from the command line.

    Args:
        settings_class: The settings model; its fields are the flags.
        about: What `--help` shows above the flags: a chapter's header.
        arguments: What follows the program's name; None reads the real command line.

    Returns:
        The settings, complete and checked as far as they can be without looking at
        data.

    Raises:
        SettingsError: A value is out of range or does not fit another one. Names every
            offending flag.

    Examples:
        >>> from distrinews.config.settings import TrainSettings
        >>> parse(TrainSettings, about="", arguments=["--epochs", "3"]).epochs
        3
    """
    argv = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = CliSettingsSource[argparse.ArgumentParser](
        settings_class, root_parser=parser
    )
    try:
        return CliApp.run(settings_class, cli_args=argv, cli_settings_source=source)
    except ValidationError as error:
        raise SettingsError(
            "; ".join(
                _format_error(details, settings_class) for details in error.errors()
            )
            + ".",
            why="the run would fail later, or be another one than you meant.",
            fix="--help lists every flag with its unit and default.",
            page="settings",
        ) from None


def _format_error(details: ErrorDetails, settings_class: type[BaseSettings]) -> str:
    """One pydantic problem as `--flag value: what was expected`."""
    message = details["msg"].removeprefix("Value error, ")
    if not details["loc"]:
        return message
    name = str(details["loc"][0])
    field = settings_class.model_fields.get(name)
    # A key must not get into the log, not even a wrong one.
    is_secret = field is not None and "Secret" in str(field.annotation)
    value = "..." if is_secret else details["input"]
    flag = "--" + name.replace("_", "-")
    return f"{flag} {value}: {message[0].lower()}{message[1:]}"
