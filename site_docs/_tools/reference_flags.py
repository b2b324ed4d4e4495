"""The flags of every command and the settings behind them, read from the real ones.

The command line is the parser that `python -m distrinews` uses; the flags of chapters
and measurements are the fields of their settings models, in the words of `--help`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from typing import Any

from docs_site import DocsSettings
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from records import ROOT

from distrinews.bench import peers
from distrinews.bench.costmodel import calibration_plan
from distrinews.bench.costmodel.report import PredictionSettings
from distrinews.bench.datapath import DataPathSettings
from distrinews.bench.timing import draw_table
from distrinews.cli import parser as cli_parser
from distrinews.config import settings
from distrinews.course import lessons

__all__ = ["MEASUREMENTS", "commands", "settings_models"]

sys.path.insert(0, str(ROOT / "apps"))

UNIT = re.compile(r" ?\[([^\]]*)\]$")
DEFAULT = re.compile(r"^default: ")
# What `python -m distrinews benchmark WHAT` takes its flags from; others take files.
MEASUREMENTS: dict[str, type[BaseModel]] = {
    "averaging": settings.BenchmarkSettings,
    "balance": settings.BenchmarkSettings,
    "calibrate": calibration_plan.CalibrationSettings,
    "data": DataPathSettings,
    "limit": settings.BenchmarkSettings,
    "peers": peers.PeerSettings,
    "predict": PredictionSettings,
    "trace": settings.BenchmarkSettings,
}
FILES = {"check": "FILE.json", "compare": "FILE.json FILE.json"}
# A model, and who reads it.
MODELS: tuple[tuple[type[BaseModel], str], ...] = (
    (settings.TrainSettings, "`chapters/01_single_gpu.py`"),
    (
        settings.DistributedSettings,
        "`chapters/05_ddp_training.py`",
    ),
    (
        settings.BenchmarkSettings,
        "`chapters/06_ddp_benchmark.py`, `python -m distrinews benchmark` averaging, "
        "balance, limit and trace",
    ),
    (peers.PeerSettings, "`python -m distrinews benchmark peers`"),
    (DataPathSettings, "`python -m distrinews benchmark data`"),
    (lessons.LessonSettings, "`chapters/02_process_group.py`"),
    (lessons.MeasuringSettings, "the base of the two that follow"),
    (lessons.DataSettings, "`chapters/03_data_sharding.py`"),
    (lessons.TimingSettings, "`chapters/04_gradient_sync.py`"),
    (
        calibration_plan.CalibrationSettings,
        "`python -m distrinews benchmark calibrate`",
    ),
    (PredictionSettings, "`python -m distrinews benchmark predict`"),
    (DocsSettings, "`python -m distrinews docs`"),
)


# --- Commands ---------------------------------------------------------------------


def commands() -> str:
    """Every command with its arguments.

    Returns:
        Markdown, a section a command.
    """
    parts = []
    for words, about, parser in _walk(cli_parser.parser(), ["distrinews"]):
        name = " ".join(words[1:])
        anchor = name.replace(" ", "-")
        parts += [f"## `{name}` {{ #{anchor} }}", "", _sentence(about), ""]
        if name == "benchmark":
            parts += _measurements()
        elif name == "docs":
            parts += [f"Its flags are {_link(DocsSettings)}.", ""]
        else:
            table = _arguments(parser)
            parts += [table or "No arguments.", ""]
    return "\n".join(parts).strip()


def _walk(
    parser: argparse.ArgumentParser, words: list[str]
) -> Iterator[tuple[list[str], str, argparse.ArgumentParser]]:
    """Every command that does something: its words, what it is about, its parser."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {
                choice.dest: choice.help or "" for choice in action._choices_actions
            }
            for word, subparser in action.choices.items():
                if word not in helps:
                    continue  # not for people
                inner = [*words, word]
                if any(
                    isinstance(choice, argparse._SubParsersAction)
                    for choice in subparser._actions
                ):
                    yield from _walk(subparser, inner)
                else:
                    yield inner, helps[word], subparser


def _arguments(parser: argparse.ArgumentParser) -> str:
    lines = [["argument", "what it is", "unit", "default"]]
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction | argparse._VersionAction):
            continue
        name = ", ".join(action.option_strings) or action.dest
        help_text = (action.help or "") % {
            "default": action.default,
            "prog": "distrinews",
        }
        about, unit, default = _split(help_text)
        if action.choices:
            about += f" ({', '.join(map(str, action.choices))})"
        if not default:
            default = _default(action)
        lines.append([f"`{name}`", _cell(about), unit, default])
    return draw_table(lines) if len(lines) > 1 else ""


def _default(action: argparse.Action) -> str:
    if action.required:
        return "needed" if action.option_strings or action.nargs is None else ""
    if isinstance(action, argparse._StoreTrueAction):
        return "off"
    return "" if action.default in {None, argparse.SUPPRESS} else f"`{action.default}`"


def _measurements() -> list[str]:
    """The word after `benchmark`, and what it takes."""
    lines = [["`benchmark` ...", "takes"]]
    for what in cli_parser.MEASUREMENTS:
        model = MEASUREMENTS.get(what)
        takes = f"the flags of {_link(model)}" if model else f"`{FILES[what]}`"
        lines.append([f"`{what}`", takes])
    return [draw_table(lines), ""]


def _link(model: type[BaseModel]) -> str:
    return f"[{model.__name__}](settings.md#{model.__name__})"


# --- Settings ---------------------------------------------------------------------


def settings_models() -> str:
    """Every settings model with its fields, the server's with its variables, too.

    Returns:
        Markdown, a section a model.
    """
    from serve_settings import PREFIX, ServeSettings

    parts = []
    for model, where in MODELS:
        name = model.__name__
        parts += [f"## {name} {{ #{name} }}", "", f"Read by {where}."]
        base = model.__mro__[1]
        inherited = base.model_fields if issubclass(base, BaseModel) else {}
        if inherited:
            link = f"[{base.__name__}](#{base.__name__})"
            parts.append(f"Everything that {link} has, and:")
        own_fields = [
            (name, field)
            for name, field in model.model_fields.items()
            if name not in inherited or field.default != inherited[name].default
        ]
        parts += [
            "",
            draw_table([HEAD, *(_row(*named_field) for named_field in own_fields)]),
            "",
        ]
    parts += [
        "## ServeSettings { #ServeSettings }",
        "",
        "Read by `apps/api.py`, from flags and from the environment; a flag wins. How "
        "to use it: [Serve](../howto/serve.md).",
        "",
        draw_table([
            ["flag", "environment variable", *HEAD[1:]],
            *(
                [
                    _flag(name, field),
                    f"`{PREFIX}{name.upper()}`",
                    *_row(name, field)[1:],
                ]
                for name, field in ServeSettings.model_fields.items()
            ),
        ]),
    ]
    return "\n".join(parts).strip()


HEAD = ["flag", "what it is", "unit", "default", "allowed"]


def _row(name: str, field: FieldInfo) -> list[str]:
    about, unit, default = _split(field.description or "")
    if not default:
        value = field.get_default(call_default_factory=True)
        default = _value(value)
    return [_flag(name, field), _cell(about), unit, default, _limits(field)]


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "" if value is None else f"`{value}`"


def _flag(name: str, field: FieldInfo) -> str:
    return f"`--{(field.alias or name).replace('_', '-')}`"


def _limits(field: FieldInfo) -> str:
    """Bounds and choices, as people say them."""
    words = []
    for limit in field.metadata:
        for attribute, word in (
            ("gt", "more than"),
            ("ge", "at least"),
            ("lt", "less than"),
            ("le", "at most"),
        ):
            bound: Any = getattr(limit, attribute, None)
            if bound is not None:
                words.append(f"{word} {bound:,}")
    choices = re.findall(r"'([^']+)'", str(field.annotation))
    if "Literal" not in str(field.annotation):
        choices = []
    return ", ".join(words + [f"`{choice}`" for choice in choices])


# --- Words ------------------------------------------------------------------------


def _split(text: str) -> tuple[str, str, str]:
    """A description as (what it is, unit, default): the last two stand in brackets."""
    match = UNIT.search(text)
    if match is None:
        return text, "", ""
    units: list[str] = []
    default = ""
    for part in match[1].split("; "):
        if DEFAULT.match(part):
            default = DEFAULT.sub("", part)
        elif part.startswith("default "):
            default = part.removeprefix("default ")
        else:
            units.append(part)
    if units and units[0].startswith("needs: "):
        return text, "", ""
    if units and not default and not re.fullmatch(r"[a-z/% ]+", units[0]):
        return text[: match.start()], "", f"`{units[0]}`"  # --help shows [1000]
    return text[: match.start()], "; ".join(units), default


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
