"""What makes commands start quickly: the overview that no library draws, lazily made commands, plain words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.core import TyperCommand
from typer.main import get_command

from satm.cli import run
from satm.cli._app import app
from satm.cli._commands import ABOUT, COMMANDS
from satm.cli._overview import NARROWEST
from satm.cli._values import OTHER, plain


@pytest.mark.parametrize("columns", [20, 60, 200])
def test_the_overview_names_every_command_in_the_width_of_the_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert run(["--help"]) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= max(columns, NARROWEST)
    words = " ".join(said.split())
    assert all(f"{name} {entry.help}" in words for name, entry in COMMANDS.items())
    assert run([]) == 2
    assert capsys.readouterr().out == said


def test_the_table_of_commands_says_what_the_commands_say() -> None:
    group: Any = get_command(app)
    assert group.help == ABOUT
    for name, entry in COMMANDS.items():
        command = group.commands[name]
        assert " ".join(command.help.split("\n\n")[0].split()) == entry.help
        assert (getattr(command, "rich_help_panel", None) == "Lists") == (entry.panel == "Lists")


def parameters() -> Iterator[Any]:
    todo = [get_command(app)]
    while todo:
        command: Any = todo.pop()
        todo += getattr(command, "commands", {}).values()
        yield from command.params


WORDS = ["text", "7", "-1", "0.5", "1e3", "٣", " 7", "", "table", "csv", "/", "missing", "1" * 30, True, 3, 0.25, None]


def test_plain_words_have_the_value_that_typer_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    seen = {}
    for parameter in parameters():
        info = parameter.type_descriptor.parameter_info
        several = parameter.multiple or parameter.nargs == -1
        seen.setdefault((str(parameter.type_descriptor.annotation), several, info.min, info.max), parameter)
    assert len(seen) > 12
    context, taught = TyperCommand(name="c").make_context("c", []), 0
    for parameter in seen.values():
        several = parameter.multiple or parameter.nargs == -1
        for word in [*WORDS, parameter.default]:
            given = (word, word) if several and word is not None and not isinstance(word, list | tuple) else word
            value = plain(parameter, given)
            if value is not OTHER:
                taught += 1
                by_typer = parameter.get_runtime_param().coerce(given, param=parameter, ctx=context)
                assert (value, type(value)) == (by_typer, type(by_typer))
    assert taught > 80


def test_a_word_that_is_wrong_is_refused_by_typer(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["results", "--limit", "-1"]) == 2
    assert run(["results", "--ipc", "ten"]) == 2
    said = capsys.readouterr().err
    assert "'--limit'" in said
    assert "'--ipc'" in said
