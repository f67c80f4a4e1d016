import json
from dataclasses import replace
from statistics import fmean

import pytest

from evaluation import RateChoice, choose_learning_rate
from satm.errors import ConfigError, Diverged, Interrupted
from satm.networks import plan
from satm.progress import NoProgress
from satm.rng import Seed
from tests.evaluation.conftest import SHAPE, StopAfter, memory

PLAN = plan("convnet3_w16", num_classes=3, image_shape=SHAPE)


class Heard(NoProgress):
    def __init__(self):
        self.lines = []

    def say(self, message):
        self.lines.append(message)


def choose(patterns, recipe, draws, **options):
    return choose_learning_rate(draws, patterns.validation, PLAN, recipe, **{"seed": Seed(0)} | options)


def test_the_best_on_validation_is_chosen(patterns, recipe):
    grid = (1e-9, 0.05, 1e6)
    found = choose(patterns, recipe, [memory()], grid=grid)
    assert found.rate == 0.05
    assert tuple(found.scores) == grid
    assert found.scores[1e-9] < found.scores[0.05] <= 1
    assert found.scores[1e6] == 0  # diverged
    assert (found.networks, found.extended, found.edge) == (1, None, None)


def test_the_score_is_the_mean_over_pairs_of_networks(patterns, brief):
    draws = [memory(seed=k, step_size=None) for k in range(3)]
    grid = (0.01, 0.05, 1e6)
    together = choose(patterns, brief, draws, grid=grid)
    seeds = [Seed(0), Seed(0).child("network", 1), Seed(0).child("network", 2)]
    alone = [choose(patterns, brief, [draw], grid=grid, seed=seed) for draw, seed in zip(draws, seeds, strict=True)]
    for rate in grid:
        assert together.scores[rate] == pytest.approx(fmean(each.scores[rate] for each in alone))
    assert len({each.scores[0.01] for each in alone}) > 1  # so a single network would show
    assert together.networks == 3


def test_a_grid_whose_best_rate_is_at_its_edge_is_extended_once(patterns, brief, recipe):
    heard = Heard()
    found = choose(patterns, recipe, [memory()] * 2, grid=(0.0005, 0.005), progress=heard)
    assert tuple(found.scores) == (0.0005, 0.005, pytest.approx(0.05))
    assert (found.rate, found.extended, found.edge) == (pytest.approx(0.05), found.rate, "highest")
    (line,) = heard.lines
    assert line == (
        "convnet3_w16: learning rate 0.005 is at the edge of the grid (0.0005 to 0.005); 0.05 was tried too, and "
        "0.05 is chosen, still the highest: name a rate or a recipe with a wider grid"
    )
    low = choose(patterns, brief, [memory()] * 2, grid=(0.05, 1e6), progress=heard)
    assert (low.extended, low.edge, low.rate) == (0.05**2 / 1e6, None, 0.05)
    assert heard.lines[1].endswith("(0.05 to 1e+06); 2.5e-09 was tried too, and 0.05 is chosen")
    assert len(choose(patterns, brief, [memory()], grid=(0.0005, 0.005)).scores) == 2  # as before this rule
    assert RateChoice.from_facts(found.rate, json.loads(json.dumps(found.facts()))) == found
    assert RateChoice.from_facts(0.1, {}) == RateChoice(rate=0.1)


def test_of_equals_the_first_is_chosen(patterns, recipe):
    for grid in ((1e-9, 2e-9), (2e-9, 1e-9)):  # too small to change any prediction
        found = choose(patterns, recipe, [memory()] * 2, grid=grid)
        assert len(set(found.scores.values())) == 1
        assert found.rate == grid[0]


def test_choosing_can_fail_clearly(patterns, recipe):
    with pytest.raises(Diverged, match=r"convnet3_w16 diverges at every learning rate of \[1000000.0\]"):
        choose(patterns, recipe, [memory()] * 2, grid=(1e6,))
    with pytest.raises(ConfigError, match="no validation images"):
        choose_learning_rate([memory()], patterns.validation.of_classes([]), PLAN, recipe, seed=Seed(0))
    with pytest.raises(ConfigError, match="no draws to choose"):
        choose(patterns, recipe, [])
    with pytest.raises(ConfigError, match="rate_networks 0: expected 1 or more"):
        replace(recipe, rate_networks=0)
    with pytest.raises(Interrupted):
        choose(patterns, recipe, [memory()], progress=StopAfter(recipe.epochs - 1))
