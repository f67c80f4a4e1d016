"""The README is held to what the suite does: its Python runs, its commands exist, every command is in it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from satm.cli import app, run

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def commands() -> list[tuple[str, ...]]:
    """Every command and subcommand the application has."""
    found: list[tuple[str, ...]] = []
    root = typer.main.get_command(app)
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        nested = getattr(command, "commands", None)
        found += [(name, inner) for inner in nested] if nested else [(name,)]
    return found


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_has_help_and_is_in_the_readme(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, "--help"]) == 0
    assert "Usage: satm " + " ".join(command) in " ".join(capsys.readouterr().out.split())
    assert f"satm {' '.join(command)}" in README


def test_every_command_line_of_the_readme_names_a_command() -> None:
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("satm ")]
    assert lines
    known = set(commands())
    for line in lines:
        words = shlex.split(line, comments=True)
        assert (words[1],) in known or tuple(words[1:3]) in known, line


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SATM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SATM_REGISTRY", raising=False)
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
