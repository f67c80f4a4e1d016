"""Runs the pages of docs/how-to and the tutorial: their packages, programs and commands, in the page's order."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from satm.cli import run

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted((DOCS / "how-to").glob("*.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of a page: ```python and ```toml are files of a package, ```sh uses it, ```text is the output."""

    page: str
    kind: str
    text: str

    @property
    def lines(self) -> list[str]:
        return [line for line in self.text.splitlines() if line]

    @property
    def file_name(self) -> str:
        """The name of a ```python block's file: its first line is the comment `# my_methods.py`."""
        name = re.match(r"# (\w+\.py)\n", self.text)
        assert name, f"{self.page}: a python block must begin with its file's name in a comment"
        return name[1]

    def entry_points(self) -> str:
        """The entry points of a ```toml block, as a package's metadata holds them."""
        lines = []
        for group, names in tomllib.loads(self.text)["project"]["entry-points"].items():
            lines += [f"[{group}]", *(f"{name} = {value}" for name, value in names.items())]
        return "\n".join(lines) + "\n"

    def program(self, line: str) -> list[str]:
        """The words of a line of a ```sh block, without `satm`."""
        program, *words = shlex.split(line, comments=True)
        assert program == "satm", f"{self.page}: {line}"
        return words


def read(page: Path) -> list[Block]:
    return [Block(page.name, kind, text) for kind, text in BLOCK.findall(page.read_text(encoding="utf-8"))]


def install(blocks: list[Block], folder: Path) -> None:
    """Write what `pip install` leaves: the modules, and the package's metadata."""
    about = folder / "my_package-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("".join(block.entry_points() for block in blocks if block.kind == "toml"))
    for block in blocks:
        if block.kind == "python":
            (folder / block.file_name).write_text(block.text, encoding="utf-8")


def test_every_change_that_the_map_names_has_its_page() -> None:
    assert [page.stem for page in PAGES] == [
        "data-set",
        "layout",
        "logger",
        "method",
        "metric",
        "outer-optimiser",
        "protocol",
        "step-size",
        "tune",
        "workers",
    ]


def said_by(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines that a command prints, with single spaces."""
    assert run(words) == 0, f"{line}\n{capsys.readouterr().err}"
    return [" ".join(each.split()) for each in capsys.readouterr().out.splitlines()]


def assert_said(line: str, printed: list[str], page: Path) -> None:
    """A line of a ```text block stands in the output; `…` stands for any text."""
    wanted = re.escape(" ".join(line.split())).replace("…", ".*")
    found = any(re.fullmatch(wanted, each) for each in printed)
    assert found, f"{page.name}: {line!r} is not in\n" + "\n".join(printed)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One SATM_HOME for all pages, so that they train their experts once."""
    return tmp_path_factory.mktemp("home")


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_example_works(
    page: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The package is installed at the page's ```toml block. Commands before that block run without the package."""
    monkeypatch.setenv("SATM_HOME", str(home))
    blocks = read(page)
    # A page about a change installs a package; the page about workers has a program and commands for a cluster.
    expected = {"workers": {"python", "sh", "text", "console"}, "tune": {"sh", "text"}}
    assert {block.kind for block in blocks} == expected.get(page.stem, {"python", "toml", "sh", "text"})
    install(blocks, tmp_path / "site")
    monkeypatch.chdir(tmp_path)
    printed: list[str] = []  # by the ```sh blocks so far
    try:
        for block in blocks:
            if block.kind == "toml":
                monkeypatch.syspath_prepend(str(tmp_path / "site"))
            for line in block.lines if block.kind == "sh" else ():
                printed += said_by(block.program(line), line, capsys)
            for line in block.lines if block.kind == "text" else ():
                assert_said(line, printed, page)
    finally:
        for block in blocks:
            if block.kind == "python":
                sys.modules.pop(block.file_name.removesuffix(".py"), None)


@pytest.mark.slow
def test_the_tutorial_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the folder of images to the report, by the page's own program and commands."""
    monkeypatch.setenv("SATM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SATM_REGISTRY", raising=False)
    monkeypatch.chdir(tmp_path)
    page = DOCS / "tutorial.md"
    blocks = read(page)
    (program,) = (block for block in blocks if block.kind == "python")
    Path(program.file_name).write_text(program.text, encoding="utf-8")
    printed: list[str] = []
    for block in blocks:
        for line in block.lines if block.kind == "sh" else ():
            command, _, file = line.partition(" > ")
            if command == f"python {program.file_name}":
                runpy.run_path(program.file_name)
            else:
                # The page leaves the threads to the machine, and a test has one.
                threads = [] if command.split()[1] in ("results", "report", "cite") else ["--threads", "1"]
                said = said_by([*block.program(command), *threads], line, capsys)
                printed += said
                if file:
                    assert "@software{satm," in said
        for line in block.lines if block.kind == "text" else ():
            assert_said(line, printed, page)
    assert (tmp_path / "report.html").stat().st_size > 100_000
    assert (tmp_path / "my-images.png").stat().st_size > 1000
