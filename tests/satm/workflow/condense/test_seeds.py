"""`condense_seeds` and `--seeds`: one set a seed, with experts of its own seed or shared ones."""

from __future__ import annotations

from pathlib import Path

import pytest

import satm
from registry import Registry
from satm.cli import run
from satm.errors import ConfigError
from satm.workflow.condense.seeds import parse_seeds


@pytest.mark.parametrize(("text", "seeds"), [("0,1,2", (0, 1, 2)), ("0-4", (0, 1, 2, 3, 4)), ("7, 2-3", (7, 2, 3))])
def test_seeds_are_listed_or_a_range(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "x", "1,", "-1", "3-1", "1-", "1.5"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected numbers such as 0,1,2 or a range such as 0-4"):
        parse_seeds(text)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--seeds", "0,0"], "seed 0 is there twice"),
        (["--seeds", "0-999999999"], "a range of more than 10,000 seeds"),
        (["--seeds", "0-2", "--seed", "1"], "--seed beside --seeds"),
        (["--seeds", "0-2", "--from", "abc"], "--from beside --seeds"),
        (["--seeds", "0-2", "--grid", "a.png"], "--grid beside --seeds"),
        (["--share-experts"], "--share-experts without --seeds"),
    ],
)
def test_bad_options_are_one_line_and_make_nothing(
    arguments: list[str],
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["condense", "digits", "--profile", "smoke", *arguments]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert named in line
    assert not (tmp_path / "satm.db").exists()


def test_each_seed_has_its_own_experts_unless_they_are_shared(tmp_path: Path) -> None:
    preset = satm.choose_preset("digits", ipc=1, method="mtt", profile="smoke", settings={"outer_steps": 2})
    registry = tmp_path / "satm.db"
    own = satm.condense_seeds(preset, (1, 0), registry=registry)
    assert (own.name, own.seeds, own.experts) == ("digits/ipc1/mtt", (0, 1), "own")
    assert {_experts(each.about): each.seed for each in own.sets} == {0: 0, 1: 1}
    assert len({each.parents for each in own.sets}) == 2
    shared = satm.condense_seeds(preset, (0, 1), share_experts=True, registry=registry)
    assert (shared.seeds, shared.experts) == ((0, 1), "shared")
    assert shared.sets[0].id == own.sets[0].id  # seed 0 is the same in both; nothing is made twice
    again = satm.condense_seeds(preset, (1, 0), registry=registry)
    assert {each.id for each in again.sets} == {each.id for each in own.sets}
    with Registry.open(registry) as store:
        assert len(store.sets()) == 3


def test_no_seeds_are_refused(tmp_path: Path) -> None:
    preset = satm.choose_preset("digits", ipc=1, method="random", profile="smoke")
    for seeds in ((), (1, 1), (-1,)):
        with pytest.raises(ConfigError, match="expected different whole numbers from 0"):
            satm.condense_seeds(preset, seeds, registry=tmp_path / "satm.db")


def _experts(about: object) -> int:
    seed: int = about["config"]["condense"]["experts"]["seed"]  # type: ignore[index]
    return seed
