import pytest

from evaluation import choose_learning_rate
from satm.errors import ConfigError, Diverged, Interrupted
from satm.networks import plan
from satm.rng import Seed
from tests.evaluation.conftest import SHAPE, StopAfter, memory

PLAN = plan("convnet3_w16", num_classes=3, image_shape=SHAPE)


def test_the_best_on_validation_is_chosen(patterns, recipe):
    grid = (1e-9, 0.05, 1e6)
    chosen, scores = choose_learning_rate(memory(), patterns.validation, PLAN, recipe, grid=grid, seed=Seed(0))
    assert chosen == 0.05
    assert tuple(scores) == grid
    assert scores[1e-9] < scores[0.05] <= 1
    assert scores[1e6] == 0  # diverged


def test_of_equals_the_first_is_chosen(patterns, recipe):
    for grid in ((1e-9, 2e-9), (2e-9, 1e-9)):  # too small to change any prediction
        chosen, scores = choose_learning_rate(memory(), patterns.validation, PLAN, recipe, grid=grid, seed=Seed(0))
        assert len(set(scores.values())) == 1
        assert chosen == grid[0]


def test_choosing_can_fail_clearly(patterns, recipe):
    with pytest.raises(Diverged, match=r"convnet3_w16 diverges at every learning rate of \[1000000.0\]"):
        choose_learning_rate(memory(), patterns.validation, PLAN, recipe, grid=(1e6,), seed=Seed(0))
    with pytest.raises(ConfigError, match="no validation images"):
        choose_learning_rate(memory(), patterns.validation.of_classes([]), PLAN, recipe, seed=Seed(0))
    with pytest.raises(Interrupted):
        choose_learning_rate(
            memory(), patterns.validation, PLAN, recipe, seed=Seed(0), progress=StopAfter(recipe.epochs - 1)
        )
