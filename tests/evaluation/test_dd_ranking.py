"""DD-Ranking's scores against their formula, by hand and as the published package computes them."""

from __future__ import annotations

import math

import pytest

from evaluation.dd_ranking import AugmentationAccuracies, LabelAccuracies
from satm.errors import ConfigError


def labels(real: float, hard: float, meant: float, random: float) -> LabelAccuracies:
    return LabelAccuracies(real_hard=real, syn_hard=hard, syn_any=meant, random_any=random)


def augmented(syn: float, random: float, syn_plain: float, random_plain: float) -> AugmentationAccuracies:
    return AugmentationAccuracies(syn_aug=syn, random_aug=random, syn_plain=syn_plain, random_plain=random_plain)


def test_the_label_robust_score_is_the_formula() -> None:
    found = labels(0.85, 0.60, 0.70, 0.40)
    assert found.hard_label_recovery == pytest.approx(0.25)
    assert found.improvement_over_random == pytest.approx(0.30)
    a = 0.5 * 0.30 - 0.5 * 0.25
    assert found.score() == pytest.approx((math.exp(a) - math.exp(-1)) / (math.e - math.exp(-1)))
    assert found.score(1.0) > found.score() > found.score(0.0)  # IOR is above 0, and −HLR below


def test_the_augmentation_robust_score_is_the_formula() -> None:
    b = 0.25 * (0.7 - 0.4) + 0.75 * (0.5 - 0.45)
    expected = (math.exp(b) - math.exp(-1)) / (math.e - math.exp(-1))
    assert augmented(0.7, 0.4, 0.5, 0.45).score(0.25) == pytest.approx(expected)


def test_the_published_package_gives_the_same_numbers() -> None:
    """What `ddranking` 0.2.0 returns if its trainings are replaced by these accuracies (`compute_metrics`)."""
    assert labels(0.85, 0.60, 0.70, 0.40).score() == 0.27971196885639504
    assert augmented(0.7, 0.4, 0.5, 0.45).score() == 0.3503088577063149


def test_the_scores_reach_from_0_to_1() -> None:
    assert labels(1.0, 0.0, 0.0, 1.0).score() == pytest.approx(0.0)
    assert augmented(0.0, 1.0, 0.0, 1.0).score() == pytest.approx(0.0)
    assert augmented(1.0, 0.0, 1.0, 0.0).score() == pytest.approx(1.0)
    assert labels(0.5, 0.5, 0.5, 0.5).score() == pytest.approx((1 - math.exp(-1)) / (math.e - math.exp(-1)))


def test_percents_and_weights_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"syn_hard 60: expected a fraction from 0 to 1; divide percents by 100"):
        labels(0.85, 60, 0.7, 0.4)
    with pytest.raises(ConfigError, match="weight 2: expected a number from 0 to 1"):
        labels(0.85, 0.6, 0.7, 0.4).score(2)
