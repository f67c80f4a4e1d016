"""Every page of docs/how-to works: its files are installed as a small package, and its commands are typed."""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from satm.cli import run

PAGES = sorted((Path(__file__).parent.parent / "docs" / "how-to").glob("*.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Example:
    """What a page shows. A ```python block begins with its file's name in a comment, `# my_methods.py`."""

    files: dict[str, str]
    entry_points: dict[str, dict[str, str]]  # of the ```toml blocks, by group
    commands: list[str]  # of the ```sh blocks
    printed: list[str]  # of the ```text blocks: lines that the commands must print, `…` for anything

    @classmethod
    def read(cls, page: Path) -> Example:
        files: dict[str, str] = {}
        entry_points: dict[str, dict[str, str]] = {}
        commands, printed = [], []
        for kind, text in BLOCK.findall(page.read_text(encoding="utf-8")):
            if kind == "python":
                name = re.match(r"# (\w+\.py)\n", text)
                assert name, f"{page.name}: a python block must begin with its file's name in a comment"
                files[name[1]] = text
            elif kind == "toml":
                entry_points |= tomllib.loads(text)["project"]["entry-points"]
            elif kind == "sh":
                commands += [line for line in text.splitlines() if line]
            elif kind == "text":
                printed += [line for line in text.splitlines() if line]
        return cls(files, entry_points, commands, printed)

    def install(self, folder: Path) -> None:
        """Write what `pip install` would leave: the modules, and the package's description of itself."""
        folder.mkdir()
        for name, text in self.files.items():
            (folder / name).write_text(text, encoding="utf-8")
        about = folder / "my_package-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
        lines = []
        for group, names in self.entry_points.items():
            lines += [f"[{group}]", *(f"{name} = {value}" for name, value in names.items())]
        (about / "entry_points.txt").write_text("\n".join(lines) + "\n")


def test_every_change_that_the_map_names_has_its_page() -> None:
    assert [page.stem for page in PAGES] == [
        "data-set",
        "layout",
        "method",
        "metric",
        "outer-optimiser",
        "protocol",
        "step-size",
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_example_works(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    example = Example.read(page)
    assert example.files
    assert example.entry_points
    assert example.commands
    example.install(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.chdir(tmp_path)
    try:
        for command in example.commands:
            program, *words = shlex.split(command, comments=True)
            assert program == "satm", f"{page.name}: {command}"
            assert run(words) == 0, f"{page.name}: {command}\n{capsys.readouterr().err}"
        out = capsys.readouterr().out
    finally:
        for name in example.files:
            sys.modules.pop(name.removesuffix(".py"), None)
    printed = [" ".join(line.split()) for line in out.splitlines()]
    for line in example.printed:
        wanted = re.escape(" ".join(line.split())).replace("…", ".*")
        assert any(re.fullmatch(wanted, each) for each in printed), f"{page.name}: {line!r} is not in\n{out}"
