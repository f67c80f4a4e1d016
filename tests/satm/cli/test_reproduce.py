"""`satm reproduce`: what it shows before it runs, and command lines that cannot work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from satm.cli import run

TINY = """
title = "tiny"
source = "a test"

[evaluations.in-domain]

[[cells]]
dataset = "digits"
ipc = 1
arms = ["satm", "random"]
evaluations = "in-domain"
"""


def test_a_dry_run_lists_the_cells_and_makes_nothing(satm: Callable[..., str], here: Path) -> None:
    (here / "tiny.toml").write_text(TINY)
    out = satm("reproduce", "tiny.toml", "--profile", "smoke", "--dry-run")
    assert [line.split()[:6] for line in out.splitlines()[2:4]] == [
        ["digits", "IPC", "1", "satm", "in-domain", "smoke"],
        ["digits", "IPC", "1", "random", "in-domain", "smoke"],
    ]
    assert "0/3" in out
    assert "hours of an A6000 at the speed of the paper's Table 6" in out
    out = satm("reproduce", "table3", "--profile", "cpu", "--dry-run", "--only", "dataset=imagenette")
    assert out.count("cannot run here: 'imagenette' was not found") == 3
    assert "9 condensations cannot run here" in out
    assert list(here.iterdir()) == [here / "tiny.toml"]


def test_the_report_has_a_line_for_the_title_and_one_for_the_page(satm: Callable[..., str], here: Path) -> None:
    (here / "tiny.toml").write_text(TINY.replace('"satm", ', ""))
    satm("reproduce", "tiny.toml", "--profile", "smoke", "--seeds", "1", "--networks", "1")
    lines = satm("reproduce", "tiny.toml", "--profile", "smoke", "--report").splitlines()
    assert lines[:2] == ["", "tiny"]
    assert lines[-1].startswith("page: ")


@pytest.mark.parametrize(
    ("code", "arguments", "named"),
    [
        (2, ["tabel2"], "unknown study 'tabel2': did you mean table2"),
        (2, ["table2", "--only", "size=1"], "--only size=1: expected KEY=VALUE"),
        (2, ["table2", "--only", "ipc=one"], "--only ipc=one: expected whole numbers"),
        (2, ["table2", "--only", "dataset=svhn"], "no cell of table2 has dataset=svhn"),
        (2, ["table2", "--seeds", "0"], "--seeds 0: expected 1 or more"),
        (2, ["table2", "--networks", "-1"], "--networks -1: expected 1 or more"),
        (2, ["table2", "--profile", "large"], "unknown profile 'large'"),
        (2, ["nowhere.toml"], "nowhere.toml: cannot be read as TOML (No such file or directory)"),
        (1, ["table3", "--profile", "smoke"], "nothing of table3 can be made here"),
        (1, ["table2", "--report"], "satm.db"),
    ],
)
def test_what_cannot_work_is_one_line(
    code: int, arguments: list[str], named: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["reproduce", *arguments]) == code
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert named in errors[0]
    assert list(here.iterdir()) == []
