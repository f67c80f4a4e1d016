"""The studies of the suite: they parse, their claims have cells, and the paper's own numbers bear them out."""

from __future__ import annotations

from pathlib import Path

import pytest

from satm.errors import ConfigError, UnknownName
from satm.studies import comparisons, paper_numbers, read_study, shipped
from satm.workflow.reproduce.laid import lay_out
from tests.golden.paper import arm, converted

OURS = ("does-sharpness-help", "laptop")
PAPER = [name for name in shipped() if name not in OURS]
FIGURES = {"fig1", "fig2", "fig3", "grids"}

SMALL = """
title = "small"
source = "a test"

[arms.flat]
method = "satm"
outer = "sam"

[evaluations.in-domain]

[[cells]]
dataset = "digits"
ipc = 1
arms = ["satm", "mtt", "flat"]
evaluations = "in-domain"

[[claims]]
text = "SATM is above MTT"
first = "satm"
second = "mtt"
evaluation = "in-domain"
"""


def test_there_is_a_study_for_every_table_and_figure() -> None:
    assert [*(f"table{k}" for k in range(2, 11)), "fig1", "fig2", "fig3", "grids"] == PAPER


@pytest.mark.parametrize("name", shipped())
def test_every_claim_of_a_study_has_cells(name: str) -> None:
    study = read_study(name)
    assert all(comparisons(study, claim) for claim in study.claims)
    assert study.head.source


@pytest.mark.parametrize("name", PAPER)
@pytest.mark.parametrize("profile", ["smoke", "cpu", "paper"])
def test_every_cell_of_the_paper_has_a_preset(name: str, profile: str) -> None:
    assert all(each.preset is not None for each in lay_out(read_study(name), profile=profile))


@pytest.mark.parametrize("name", sorted(set(PAPER) - FIGURES))
def test_every_cell_of_a_table_has_the_paper_s_number(name: str) -> None:
    study, numbers, found = read_study(name), paper_numbers(), 0
    for cell in study.cells():
        for evaluation in cell.evaluations:
            if study.evaluations[evaluation].rate == "own":
                for architecture in study.evaluations[evaluation].architectures or ("",):
                    at = (cell.condition.dataset, cell.condition.ipc, cell.name, architecture, "accuracy")
                    assert (study.head.paper, *at) in numbers
                    found += 1
    printed = [key for key in numbers if key[0] == name and key[3] != "whole" and key[5] == "accuracy"]
    assert found == len(printed)


@pytest.mark.parametrize("name", sorted(set(PAPER) - FIGURES))
def test_the_paper_s_own_numbers_bear_its_claims_out(name: str) -> None:
    study, numbers = read_study(name), paper_numbers()
    for claim in study.claims:
        pairs = []
        for each in comparisons(study, claim):
            at = (each.architecture, claim.metric)
            for ipc in (each.condition.ipc, None):
                keys = [(study.head.paper, each.condition.dataset, ipc, arm, *at) for arm in (each.first, each.second)]
                pairs += [tuple(numbers[key].value for key in keys)] if keys[0] in numbers else []
        assert pairs, claim.text
        near = 100 * study.head.delta if claim.scale == "difference" else 0.0
        held = {
            "above": [a > b for a, b in pairs],
            "below": [a < claim.times * b for a, b in pairs],
            "equal": [abs(a - b) <= (near or (claim.delta or 0) * b) for a, b in pairs],
        }[claim.says]
        assert sum(held) == (claim.at_least or len(pairs)), claim.text


def test_the_file_of_the_paper_s_numbers_is_what_its_script_writes() -> None:
    row = {"table": "table8", "dataset": "cifar10", "ipc": "1", "architecture": "convnet_d3", "mean": "45.2", "std": ""}
    row |= {"method": "SATM(keep=N/6,N=50)", "metric": "accuracy_pct"}
    assert list(converted([row])) == [("table8", "cifar10", "1", "window-1/6", "", "accuracy", "45.2", "")]
    assert arm("SATM-FI") == "satm-fi"
    number = paper_numbers()["table8", "cifar10", 1, "window-1/6", "", "accuracy"]
    assert (number.value, number.spread) == (45.2, None)
    assert len(paper_numbers()) == 193


def test_table_8_keeps_the_last_sixth_of_the_inner_steps() -> None:
    laid = lay_out(read_study("table8"), profile="paper")
    windows = {
        (each.cell.condition.ipc, each.cell.name): each.preset.config.settings.window for each in laid if each.preset
    }
    assert [windows[1, f"window-1/{k}"] for k in (6, 5, 4, 3, 2)] == [8, 10, 12, 16, 25]
    assert [windows[50, f"window-1/{k}"] for k in (6, 5, 4, 3, 2)] == [13, 16, 20, 26, 40]


def write(folder: Path, text: str) -> str:
    file = folder / "mine.toml"
    file.write_text(text)
    return str(file)


def test_a_study_of_one_s_own_is_read(tmp_path: Path) -> None:
    study = read_study(write(tmp_path, SMALL))
    assert (study.name, [str(cell) for cell in study.cells()][:2]) == (
        "mine",
        ["digits IPC 1, satm", "digits IPC 1, mtt"],
    )
    assert study.arms["flat"].outer == "sam"


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('title = "small"', 'titel = "small"', "titel"),
        ('method = "satm"', 'method = "stam"', "arms.flat: unknown method 'stam'"),
        ('outer = "sam"', 'outer = "sma"', "arms.flat: unknown outer optimiser 'sma'"),
        ('outer = "sam"', 'outr = "sam"', "arms.flat: unknown setting 'outr'"),
        ('dataset = "digits"', 'dataset = "digit"', "cells 1: unknown data set 'digit'"),
        ('arms = ["satm", "mtt", "flat"]', 'arms = ["satm", "mmt"]', "arms.mmt: unknown method 'mmt'"),
        ("ipc = 1", 'ipc = "1"', "cells 1: setting ipc is '1': expected a whole number"),
        ("ipc = 1", "ipc = 0", "cells 1: ipc 0"),
        ("[evaluations.in-domain]", "[evaluations.in-domain]\nrecipe = 'none'", "unknown recipe 'none'"),
        ("[evaluations.in-domain]", "[evaluations.in-domain]\narchitectures = ['resnet19']", "resnet19"),
        ("[evaluations.in-domain]", "[evaluations.out]", "cells 1: unknown evaluation 'in-domain'"),
        ('second = "mtt"', 'second = "mtt"\nmetric = "acuracy"', "claims 1: unknown metric 'acuracy'"),
        ('second = "mtt"', 'second = "ftd"', "claims 1: unknown arm 'ftd'"),
        ('second = "mtt"', 'second = "mtt"\nat_least = 2', "claims 1: claim 'SATM is above MTT' has 1 comparisons"),
        ('second = "mtt"', 'second = "mtt"\nwhere = {ipc = 10}', "has 0 comparisons"),
        ('second = "mtt"', 'second = "mtt"\nsays = "better"', "claims 1: setting says is 'better'"),
        ('second = "mtt"', 'second = "mtt"\ndelta = -1', "claims 1: delta -1"),
        ('source = "a test"', 'source = "a test"\nseeds = 0', "seeds 0"),
        ('source = "a test"', 'source = "a test"\ndelta = 0', "delta 0"),
        ('title = "small"', "title = [", "cannot be read as TOML"),
    ],
)
def test_a_mutated_study_is_refused_with_its_file_and_its_key(old: str, new: str, named: str, tmp_path: Path) -> None:
    assert old in SMALL
    file = write(tmp_path, SMALL.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        read_study(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_arm_with_two_meanings_is_refused(tmp_path: Path) -> None:
    again = '\n[[cells]]\ndataset = "digits"\nipc = 1\narms = "satm"\nsettings = {outer_steps = 2}\n'
    with pytest.raises(ConfigError, match="digits IPC 1, satm is there twice with different settings"):
        read_study(write(tmp_path, SMALL + again))


def test_an_unknown_study_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean table2"):
        read_study("tabel2")
