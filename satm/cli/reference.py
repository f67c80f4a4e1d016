"""Writes the page `docs/commands.md`, which describes every command and option, from the commands themselves.

`make docs` runs this module as a script. Its only argument is the file to write. A test fails if the file in the
repository is out of date.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from textwrap import fill
from typing import Any, get_args, get_type_hints

import typer

from satm.cli._app import app
from satm.cli._names import filled

HEAD = """# Commands

This page is written by `make docs` from the commands themselves: do not edit it. `satm COMMAND --help` shows the same.
Names that other installed packages add are listed by `--help` only.
"""
# For each type of an option's value, the placeholder for the value
TYPES = {int: "INTEGER", float: "NUMBER", str: "TEXT", Path: "PATH"}


def reference() -> str:
    """Return the text of the whole page. It is the same on every machine, because names of plugins are left out."""
    sections = [section for command in _commands(typer.main.get_command(app), "satm") for section in _section(*command)]
    return "\n".join([HEAD, *sections])


def _commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield each command of a group, and of the groups inside it, with its full name, such as `satm sets list`.

    `command` is the group, and `path` is the full name of the group.
    """
    for name, inner in command.commands.items():
        if hasattr(inner, "commands"):
            yield from _commands(inner, f"{path} {name}")
        else:
            yield f"{path} {name}", inner


def _section(path: str, command: Any) -> Iterator[str]:
    """Yield the paragraphs of the section about one command.

    They are the usage line, what the command does, an example, and a list of its arguments and options.
    """
    shown = [each for each in command.params if not getattr(each, "hidden", False)]
    arguments = [each for each in shown if each.param_type_name == "argument"]
    text, _, example = (command.help or "").partition("Example: ")
    yield f"## {path}\n"
    yield f"    {' '.join([path, *(_name(each) for each in arguments), '[OPTIONS]'])}\n"
    yield from (_wrapped(" ".join(paragraph.split())) + "\n" for paragraph in text.strip().split("\n\n"))
    if example:
        yield f"```sh\n{' '.join(example.split())}\n```\n"
    types = get_type_hints(inspect.unwrap(command.callback), include_extras=True)
    for parameter in [*arguments, *(each for each in shown if each not in arguments)]:
        yield _item(parameter, types[parameter.name])
    if shown:
        yield ""


def _item(parameter: Any, annotated: Any) -> str:
    """Return the list item of an argument or option: its name, a placeholder for its value, its help, and its default.

    If the value can come from an environment variable, the item says the name of the variable. `annotated` is the type
    annotation of the argument or option.
    """
    facts = []
    if parameter.envvar:
        facts.append(f"environment variable: {parameter.envvar}")
    if parameter.default not in (None, False):
        default = parameter.default
        facts.append(f"default: {default.value if isinstance(default, Enum) else default}")
    text = filled(parameter.help or "", plugins=False) + (f" [{'; '.join(facts)}]" if facts else "")
    name = _name(parameter)
    if parameter.param_type_name == "option":
        name = f"{name} {parameter.metavar or _value(annotated)}".rstrip()
    return _wrapped(f"- `{name}`: {text}", "  ")


def _name(parameter: Any) -> str:
    """Return the name of an option as it is typed (`--ipc`), or of an argument as a usage line shows it.

    Brackets, as in `[SET]`, mean that the argument may be left out. Dots, as in `SET...`, mean that it may be repeated.
    """
    if parameter.param_type_name == "argument":
        name = str(parameter.metavar or parameter.name.upper())
        return f"{name if parameter.required else f'[{name}]'}{'...' if parameter.nargs == -1 else ''}"
    return str(parameter.opts[0])


def _value(annotated: Any) -> str:
    """Return the placeholder for an option's value, such as INTEGER or `a|b`; "" for a flag."""
    kind = get_args(annotated)[0]
    while inner := get_args(kind):  # the type X in `X | None` and in `list[X]`
        kind = inner[0]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "|".join(each.value for each in kind)
    return TYPES.get(kind, "")


def _wrapped(text: str, indent: str = "") -> str:
    return fill(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python -m satm.cli.reference FILE")
    Path(sys.argv[1]).write_text(reference(), encoding="utf-8")
