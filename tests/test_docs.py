"""Checks the pages: commands, options and the targets of links exist, and the Python of the README runs."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from satm.cli import run
from satm.cli._app import app
from satm.cli._names import LISTINGS
from satm.cli.reference import reference

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [page for page in (README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))) if page.exists()]


def below(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command of a group and of the groups below it, with the words that call it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from below(command, (*words, name))
        else:
            yield (*words, name), command


COMMANDS = dict(below(typer.main.get_command(app)))


def options(command: Any) -> set[str]:
    """The options that a page may name: the hidden ones are old spellings."""
    return {"--help", *(opt for each in command.params if not getattr(each, "hidden", False) for opt in each.opts)}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def prose(page: Path) -> str:
    return re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)


def command_lines(page: Path) -> list[list[str]]:
    """The words of every `satm …` line of the page's shell blocks, up to a pipe or another command."""
    lines = [line for block in blocks(page, "sh") for line in block.replace("\\\n", " ").splitlines()]
    found = []
    for line in lines:
        if line.removeprefix("$ ").startswith("satm "):
            words = shlex.split(line.removeprefix("$ "), comments=True)
            ends = [i for i, word in enumerate(words) if word in ("|", "&&", ";", ">", ">>")]
            found.append(words[1 : min(ends, default=len(words))])
    return found


def problem(words: list[str]) -> str | None:
    """The error in a command line, which is given without `satm`."""
    called = next((tuple(words[:n]) for n in (1, 2) if tuple(words[:n]) in COMMANDS), None)
    if called is None:
        return None if words == ["--help"] else "there is no such command"
    named = {word.partition("=")[0] for word in words if word.startswith("--")}
    unknown = sorted(named - options(COMMANDS[called]))
    return f"there is no option {', '.join(unknown)}" if unknown else None


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    seen: Counter[str] = Counter()
    for title in re.findall(r"^#+ +(.*)$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).strip().lower()
        anchor = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        found.add(anchor if not seen[anchor] else f"{anchor}-{seen[anchor]}")
        seen[anchor] += 1
    return found


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command, "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Usage: satm " + " ".join(command) in said
    assert not [word for word in LISTINGS if f"{{{word}}}" in said]
    assert "[[" not in said
    assert all(each.help for each in COMMANDS[command].params)


def test_the_command_reference_is_current(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = (ROOT / "docs" / "commands.md").read_text()
    assert stored == reference(), "docs/commands.md is out of date; write it again with: make docs"
    monkeypatch.setenv("COLUMNS", "40")
    assert stored == reference()
    for command in COMMANDS:
        assert f"## satm {' '.join(command)}\n" in stored


def test_the_readme_has_command_lines() -> None:
    assert command_lines(README)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_line_names_a_command_and_its_options(page: Path) -> None:
    for words in command_lines(page):
        assert problem(words) is None, f"{name(page)}: satm {' '.join(words)}: {problem(words)}"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("condense digits --ipc 1 --set outer_steps=4", None),
        ("sets import run --format=mtt", None),
        ("condens digits", "there is no such command"),
        ("sets digits", "there is no such command"),
        ("condense digits --ipcs 1", "there is no option --ipcs"),
        ("eval-cl --preset figure1-left", "there is no option --preset"),  # the old spelling of --published
    ],
)
def test_a_command_line_that_is_wrong_is_found(line: str, said: str | None) -> None:
    assert problem(line.split()) == said


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name(page)}: {link}: there is no such file"
        if anchor:
            assert anchor in anchors(target), f"{name(page)}: {link}: there is no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    for file, test in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text()):
        assert re.search(rf"^def {test}\(", (ROOT / file).read_text(), re.MULTILINE), f"{name(page)}: {file}::{test}"


def test_a_test_holds_every_line_of_the_threat_model() -> None:
    rows = re.findall(r"^\| (.+) \| (.+) \|$", (ROOT / "docs" / "security.md").read_text(), re.MULTILINE)
    lines = [row for row in rows if row != ("what is checked", "test")]
    assert len(lines) > 30
    for what, tests in lines:
        assert re.fullmatch(r"`tests/[\w/]+\.py::\w+`(, `tests/[\w/]+\.py::\w+`)*", tests), what


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SATM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SATM_REGISTRY", raising=False)
    assert blocks(README, "python")
    names: dict[str, object] = {}
    for block in blocks(README, "python"):
        exec(compile(block, "README.md", "exec"), names)
