"""The commands as typer knows them. A command is made when it is first asked for."""

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
    """The commands by name."""

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
    """The command of this name. What adds commands to a group does so once."""
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
    """Every word of the command line belongs to a command."""


app = typer.Typer(
    name="satm",
    cls=Commands,
    help=ABOUT,
    callback=_nothing,
    add_completion=False,
    pretty_exceptions_enable=False,
)
