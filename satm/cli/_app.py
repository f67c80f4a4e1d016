"""The typer application. A command is made only when it is first used, so that `satm` starts quickly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from satm.cli._commands import ABOUT, COMMANDS
from satm.cli._values import quickly, taught


class Made(Mapping[str, Any]):
    """A mapping from each name to its command or group of commands, which is made at the first look-up."""

    def __getitem__(self, name: str) -> Any:
        if name not in COMMANDS:
            raise KeyError(name)
        return _made(name)

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


@cache
def _made(name: str) -> Any:
    """Make the command or group with this name.

    The result is cached, because a second call would add the commands of a group to the group again.
    """
    # An application with only the modules of this command.
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    alone.callback()(_nothing)
    for module in COMMANDS[name].modules:
        import_module(f"satm.cli.{module}").register(alone)
    group: Any = typer.main.get_group(alone)
    return quickly(group.commands[name])


class Commands(TyperGroup):
    """The group of all commands."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands: Any = Made()
        taught(self)


def _nothing() -> None:
    """Do nothing. typer calls this before each command; `satm` itself has no arguments or options to handle."""


app = typer.Typer(
    name="satm",
    cls=Commands,
    help=ABOUT,
    callback=_nothing,
    add_completion=False,
    pretty_exceptions_enable=False,
)
