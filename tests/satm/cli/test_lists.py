"""The lists of the command line come from the tables, and the old spelling of an option still works."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import get_args

import pytest

from satm.cli import run
from satm.cli._names import LISTINGS, filled
from satm.engine.choice import Engine


@pytest.mark.parametrize("word", LISTINGS)
def test_a_listing_agrees_with_its_table(word):
    listing = LISTINGS[word]
    table = listing.table()
    assert table.group == listing.group
    if table.package is not None:
        assert table.package == listing.package
        assert list(table) == list(listing.names())


def test_help_texts_name_everything_that_is_registered():
    assert filled("one of {outer}.") == "one of asam, ema, esam, gsam, sam, satm, sgd, smooth, vasso."
    assert "gdumb-avalanche" in filled("{protocols}")
    assert filled("{other}") == "{other}"


@pytest.mark.parametrize("command", ["condense", "plan"])
def test_help_names_every_engine(command, capsys):
    assert run([command, "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert all(engine in said for engine in get_args(Engine))


@pytest.mark.parametrize(
    ("command", "names"),
    [
        (["methods"], {"satm", "mtt", "random", "vasso"}),
        (["protocols"], {"gdumb", "er-ace", "figure1-left"}),
        (["datasets"], {"digits", "cifar10"}),
        (["layouts"], {"mtt", "dd-ranking"}),
        (["recipes"], {"dm", "prabhu2020"}),
    ],
)
def test_every_name_has_a_line_with_a_summary(command, names, capsys):
    assert run([*command, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert names <= {row["name"] for row in rows}
    assert all(row["summary"] for row in rows)


def test_outer_optimisers_can_be_listed_without_the_methods(capsys):
    assert run(["methods", "--outer", "--format", "csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "option,name,summary"
    assert {line.split(",")[0] for line in lines[1:]} == {"'--outer"}  # no formula for a spreadsheet


@pytest.mark.parametrize("command", ["methods", "recipes"])
def test_listing_imports_no_torch(command):
    program = f"import sys; from satm.cli import run; run(['{command}']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode == 0


def test_an_unknown_name_is_refused_with_the_nearest(capsys):
    assert run(["sets", "import", "x", "--format", "dd-rankin"]) == 2
    assert "did you mean dd-ranking" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--published", "--preset"])
def test_a_published_comparison_is_named_by_either_spelling(option, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(["eval-cl", option, "figure2"]) == 2
    assert "unknown published comparison 'figure2': did you mean figure1-left" in capsys.readouterr().err
    assert run(["eval-cl", "--help"]) == 0
    said = capsys.readouterr().out
    assert "--published" in said
    assert "--preset" not in said


def test_both_spellings_at_once_are_refused(capsys):
    assert run(["eval-cl", "--published", "figure1-left", "--preset", "figure1-left"]) == 2
    assert "--preset is the old spelling of --published" in capsys.readouterr().err
