import pytest

from evaluation import Score, choose_learning_rate
from satm.errors import ConfigError, Diverged, Interrupted
from satm.rng import Seed
from tests.evaluation.conftest import SHAPE, StopAfter, memory

NETWORK = {"architecture": "convnet3_w16", "num_classes": 3, "image_shape": SHAPE, "seed": Seed(0)}


def test_score_is_mean_and_population_spread():
    score = Score((0.40, 0.44, 0.51))
    assert score.mean == pytest.approx(0.45)
    assert score.std == pytest.approx(((0.05**2 + 0.01**2 + 0.06**2) / 3) ** 0.5)
    assert str(score) == "45.0 ± 4.5 (n=3)"
    assert str(Score((0.5,))) == "50.0 ± 0.0 (n=1)"
    with pytest.raises(ConfigError, match="no values"):
        Score(())


def test_the_best_on_validation_is_chosen(patterns, recipe):
    grid = (1e-9, 0.05, 1e6)
    chosen, scores = choose_learning_rate(memory(), patterns.validation, grid, recipe=recipe, **NETWORK)
    assert chosen == 0.05
    assert tuple(scores) == grid
    assert scores[1e-9] < scores[0.05] <= 1
    assert scores[1e6] == 0  # diverged


def test_of_equals_the_first_is_chosen(patterns, recipe):
    for grid in ((1e-9, 2e-9), (2e-9, 1e-9)):  # too small to change any prediction
        chosen, scores = choose_learning_rate(memory(), patterns.validation, grid, recipe=recipe, **NETWORK)
        assert len(set(scores.values())) == 1
        assert chosen == grid[0]


def test_choosing_can_fail_clearly(patterns, recipe):
    with pytest.raises(Diverged, match=r"convnet3_w16 diverges at every learning rate of \[1000000.0\]"):
        choose_learning_rate(memory(), patterns.validation, (1e6,), recipe=recipe, **NETWORK)
    with pytest.raises(ConfigError, match="no validation images"):
        choose_learning_rate(memory(), patterns.validation.of_classes([]), (0.1,), recipe=recipe, **NETWORK)
    with pytest.raises(Interrupted):
        choose_learning_rate(
            memory(), patterns.validation, (0.1,), recipe=recipe, progress=StopAfter(recipe.epochs - 1), **NETWORK
        )
