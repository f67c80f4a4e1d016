"""The sample registry in docs/: whole, small, and with something to show."""

from __future__ import annotations

from pathlib import Path
from shutil import copy

import pytest

import satm
from registry import Registry
from satm.cli import run

SAMPLE = Path(__file__).parent.parent / "docs" / "sample.db"


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """A copy, so that the file in the checkout is never opened for writing."""
    return Path(copy(SAMPLE, tmp_path / "sample.db"))


def test_the_sample_is_whole_and_small(sample: Path) -> None:
    assert sample.stat().st_size < 25e6
    with Registry.open(sample, must_exist=True, read_only=True) as store:
        assert store.verify() == []
        assert {each.dataset for each in store.sets()} == {"cifar10"}
        assert {each.method for each in store.sets()} >= {"satm", "mtt"}


def test_the_sample_has_groups_of_three_condensations(sample: Path) -> None:
    rows = [row for row in satm.group_results(registry=sample) if row.cell.profile == "cpu"]
    condensed = [row.estimate for row in rows if row.cell.metric == "accuracy"]
    assert sum((each.n, each.counts) == (3, "condensations") for each in condensed) >= 6


def test_results_of_the_sample_are_shown(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["results", "--registry", str(sample)]) == 0
    assert "3×5" in capsys.readouterr().out
