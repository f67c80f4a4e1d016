"""Converts the words of a command line to values without pydantic, so that a command starts faster.

typer converts words with pydantic, and loading pydantic takes 0.15 s. This module converts only plain words: texts,
whole and decimal numbers, names of choices, and paths. typer still converts all other words, and it reports every word
that cannot be converted. So the values and the error messages are the same as with typer. Only the message for a path
that cannot be read is different.
"""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

# The pattern of a plain number of each type. typer converts numbers that are written in another way.
NUMBERS = {int: re.compile(r"-?\d{1,15}", re.ASCII), float: re.compile(r"-?\d{1,15}(\.\d{1,15})?", re.ASCII)}
OTHER = object()  # the result for a word that typer must convert
# If a parameter has one of these settings of typer, typer converts it.
SPECIAL = ("exists", "writable", "resolve_path", "allow_dash", "clamp", "parser")


def quickly(command: Any) -> Any:
    """Make the parameters of `command` and of all its subcommands convert plain words without typer.

    Returns `command` itself, which is changed.
    """
    for inner in getattr(command, "commands", {}).values():
        quickly(inner)
    taught(command)
    return command


def taught(command: Any) -> None:
    """Make the parameters of one command, also its `--help`, convert plain words without typer."""
    by_typer = command.get_params

    def get_params(ctx: Any) -> list[Any]:
        parameters: list[Any] = by_typer(ctx)
        for parameter in parameters:
            # In older versions of typer, parameters have no `type_descriptor`. These versions do not load pydantic, so
            # their parameters stay as they are.
            if hasattr(parameter, "type_descriptor") and "process_value" not in vars(parameter):
                _teach(parameter)
        return parameters

    command.get_params = get_params


def _teach(parameter: Any) -> None:
    # Replace the method `process_value` of a parameter by one that calls typer only if a word is not plain, or if a
    # required parameter is missing.
    by_typer = parameter.process_value

    def process_value(ctx: Any, word: Any) -> Any:
        value = plain(parameter, word)
        if value is OTHER or (parameter.required and value in (None, (), [])):
            return by_typer(ctx, word)
        return value if parameter.callback is None else parameter.callback(ctx, parameter, value)

    parameter.process_value = process_value


def plain(parameter: Any, word: Any) -> Any:
    """Return the value of `word`, or `OTHER` if typer must convert the word.

    `word` is one text or, for a repeatable parameter, a list of texts. It is None if the parameter is not given.
    """
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
    # Returns the value of one word as the type `kind`, or `OTHER` if typer must convert the word. `info` holds the
    # limits of the parameter.
    if kind is str and isinstance(word, str):
        return word
    if kind in NUMBERS and (type(word) is kind or (isinstance(word, str) and NUMBERS[kind].fullmatch(word))):
        number = kind(word)
        low, high = info.min, info.max
        return number if (low is None or low <= number) and (high is None or number <= high) else OTHER
    if isinstance(kind, type) and issubclass(kind, Enum):
        return next((each for each in kind if each is word or each.value == word), OTHER)
    if kind is Path and isinstance(word, str | Path):
        # The path is not checked here. If it is wrong, the code that reads it prints one line; typer prints a box.
        return Path(word)
    return OTHER
