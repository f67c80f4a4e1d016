"""The scores of DD-Ranking (Li et al. 2025, arXiv 2505.13300): what of an accuracy comes from the images themselves.

All accuracies and scores are fractions. Checked against `ddranking` 0.2.0, `metrics/soft_label.py` and `aug_robust.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from satm.errors import ConfigError

WEIGHT = 0.5  # w and γ of DD-Ranking's leaderboard


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelAccuracies:
    """The four accuracies of one label-robust score, each a fraction of the test images. Raises ConfigError."""

    real_hard: float  # of a network trained on all real training images
    syn_hard: float  # of one trained on the set with hard labels
    syn_any: float  # of one trained on the set as it is meant to be used
    random_any: float  # of one trained on as many random real images in the same way

    def __post_init__(self) -> None:
        _check(real_hard=self.real_hard, syn_hard=self.syn_hard, syn_any=self.syn_any, random_any=self.random_any)

    @property
    def hard_label_recovery(self) -> float:
        """HLR = acc(real, hard) − acc(syn, hard): what the images lose against all real ones. Less is better."""
        return self.real_hard - self.syn_hard

    @property
    def improvement_over_random(self) -> float:
        """IOR = acc(syn, any) − acc(random, any)."""
        return self.syn_any - self.random_any

    def score(self, weight: float = WEIGHT) -> float:
        """LRS = (e^a − e^−1) / (e − e^−1) with a = w·IOR − (1 − w)·HLR, in 0..1.

        Raises ConfigError for a weight w outside 0..1.
        """
        return _normalised(self.improvement_over_random, -self.hard_label_recovery, weight)


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentationAccuracies:
    """The four accuracies of one augmentation-robust score, each a fraction of the test images. Raises ConfigError."""

    syn_aug: float  # of a network trained on the set with the augmentation of its recipe
    random_aug: float  # on as many random real images in the same way
    syn_plain: float  # on the set without augmentation
    random_plain: float  # on random images without augmentation

    def __post_init__(self) -> None:
        _check(
            syn_aug=self.syn_aug,
            random_aug=self.random_aug,
            syn_plain=self.syn_plain,
            random_plain=self.random_plain,
        )

    def score(self, weight: float = WEIGHT) -> float:
        """ARS = (e^b − e^−1) / (e − e^−1), in 0..1, with the gains over random images

            b = γ·[acc(syn, aug) − acc(random, aug)] + (1 − γ)·[acc(syn, plain) − acc(random, plain)].

        Raises ConfigError for a weight γ outside 0..1.
        """
        return _normalised(self.syn_aug - self.random_aug, self.syn_plain - self.random_plain, weight)


def _normalised(first: float, second: float, weight: float) -> float:
    if not 0 <= weight <= 1:
        raise ConfigError(f"weight {weight}: expected a number from 0 to 1")
    low = math.exp(-1)
    return (math.exp(weight * first + (1 - weight) * second) - low) / (math.e - low)


def _check(**accuracies: float) -> None:
    for name, value in accuracies.items():
        if not 0 <= value <= 1:
            raise ConfigError(f"{name} {value}: expected a fraction from 0 to 1; divide percents by 100")
