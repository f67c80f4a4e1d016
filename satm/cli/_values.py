"""Turns the words of a command line into values without pydantic, which typer loads for that in 0.15 s.

Only plain words are turned here: texts, whole and decimal numbers, names of choices, paths. Everything else, and
everything that is wrong, goes to typer, so values and messages are typer's own.
"""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

NUMBERS = {int: re.compile(r"-?\d{1,15}", re.ASCII), float: re.compile(r"-?\d{1,15}(\.\d{1,15})?", re.ASCII)}
OTHER = object()  # a word that is left to typer
SPECIAL = ("exists", "writable", "resolve_path", "allow_dash", "clamp", "parser")


def quickly(command: Any) -> Any:
    """The command, and those in it, with parameters that read plain words by themselves."""
    for inner in getattr(command, "commands", {}).values():
        quickly(inner)
    taught(command)
    return command


def taught(command: Any) -> None:
    """Make the parameters of a command, `--help` among them, read plain words by themselves."""
    by_typer = command.get_params

    def get_params(ctx: Any) -> list[Any]:
        parameters: list[Any] = by_typer(ctx)
        for parameter in parameters:
            # Older versions of typer have no descriptor, and load no pydantic.
            if hasattr(parameter, "type_descriptor") and "process_value" not in vars(parameter):
                _teach(parameter)
        return parameters

    command.get_params = get_params


def _teach(parameter: Any) -> None:
    by_typer = parameter.process_value

    def process_value(ctx: Any, word: Any) -> Any:
        value = plain(parameter, word)
        if value is OTHER or (parameter.required and value in (None, (), [])):
            return by_typer(ctx, word)
        return value if parameter.callback is None else parameter.callback(ctx, parameter, value)

    parameter.process_value = process_value


def plain(parameter: Any, word: Any) -> Any:
    """The value of a word, or of several; `OTHER` if it is not plain."""
    kind, info = parameter.type_descriptor.annotation, parameter.type_descriptor.parameter_info
    if any(getattr(info, name, None) for name in SPECIAL) or not (info.file_okay and info.dir_okay):
        return OTHER
    several = parameter.multiple or parameter.nargs == -1
    if word is None:
        return () if several else None
    if not several:
        return _value(kind, word, info)
    if get_origin(kind) is not list or not isinstance(word, list | tuple):
        return OTHER
    values = [_value(get_args(kind)[0], each, info) for each in word]
    return OTHER if OTHER in values else values


def _value(kind: Any, word: Any, info: Any) -> Any:
    if kind is str and isinstance(word, str):
        return word
    if kind in NUMBERS and (type(word) is kind or (isinstance(word, str) and NUMBERS[kind].fullmatch(word))):
        number = kind(word)
        low, high = info.min, info.max
        return number if (low is None or low <= number) and (high is None or number <= high) else OTHER
    if isinstance(kind, type) and issubclass(kind, Enum):
        return next((each for each in kind if each is word or each.value == word), OTHER)
    if kind is Path and isinstance(word, str | Path):
        return Path(word)  # what reads it says in one line what is wrong with it; typer does so in a box
    return OTHER
