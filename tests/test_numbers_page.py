"""Checks the numbers of docs/numbers.md that can be computed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from satm.statistics import compare, seeds_needed

PAGE = (Path(__file__).parent.parent / "docs" / "numbers.md").read_text()
ROWS = re.findall(r"^\| ([\d.]+) \| (\d+) \| (0\.\d\d) \|$", PAGE, re.MULTILINE)


def test_the_page_has_a_power_table() -> None:
    assert [row[0] for row in ROWS] == ["0.5", "1", "1.5", "2"]


@pytest.mark.parametrize(("std", "seeds", "power"), ROWS)
def test_seeds_and_power(std: str, seeds: str, power: str) -> None:
    assert seeds_needed(float(std), 1.0) == int(seeds)
    # Three seeds whose differences have this standard deviation, on networks that all agree.
    found = compare([[float(std)] * 3, [0.0] * 3, [-float(std)] * 3], [[0.0] * 3] * 3, delta=1.0)
    assert found.power == pytest.approx(float(power), abs=0.005)


def test_the_usual_formula_is_two_seeds_short() -> None:
    for std, seeds, _ in ROWS:
        usual = (1.95996 + 0.84162) ** 2 * float(std) ** 2
        assert 2 < int(seeds) - usual < 3.1
