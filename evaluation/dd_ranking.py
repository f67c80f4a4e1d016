"""The scores of DD-Ranking (Li et al. 2025, arXiv 2505.13300).

They measure how much of an accuracy comes from the images of a set, and not from soft labels or from augmentation. All
accuracies and scores are fractions. The formulas were checked against the files `metrics/soft_label.py` and
`aug_robust.py` of `ddranking` 0.2.0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from satm.errors import ConfigError

WEIGHT = 0.5  # the weights w and γ (see the scores below) that DD-Ranking's leaderboard uses


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelAccuracies:
    """The four test accuracies of one label-robust score. Raises ConfigError for an accuracy outside 0..1."""

    real_hard: float  # the accuracy of a network trained on all real training images
    syn_hard: float  # the accuracy of a network trained on the set with hard labels
    syn_any: float  # the accuracy of a network trained on the set as its method intends, for example with soft labels
    random_any: float  # the accuracy of a network trained like `syn_any`, but on as many random real images

    def __post_init__(self) -> None:
        _check(real_hard=self.real_hard, syn_hard=self.syn_hard, syn_any=self.syn_any, random_any=self.random_any)

    @property
    def hard_label_recovery(self) -> float:
        """HLR = acc(real, hard) − acc(syn, hard): the loss of accuracy against all real images. Less is better."""
        return self.real_hard - self.syn_hard

    @property
    def improvement_over_random(self) -> float:
        """IOR = acc(syn, any) − acc(random, any): the gain of accuracy over random real images. More is better."""
        return self.syn_any - self.random_any

    def score(self, weight: float = WEIGHT) -> float:
        """The label-robust score in 0..1: LRS = (e^a − e^−1) / (e − e^−1) with a = w·IOR − (1 − w)·HLR.

        w is `weight`. Raises ConfigError for a weight outside 0..1.
        """
        return _normalised(self.improvement_over_random, -self.hard_label_recovery, weight)


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentationAccuracies:
    """The four test accuracies of one augmentation-robust score. Raises ConfigError for an accuracy outside 0..1."""

    syn_aug: float  # the accuracy of a network trained on the set with the augmentation of its recipe
    random_aug: float  # the accuracy of a network trained like `syn_aug`, but on as many random real images
    syn_plain: float  # the accuracy of a network trained on the set without augmentation
    random_plain: float  # the accuracy of a network trained on as many random real images without augmentation

    def __post_init__(self) -> None:
        _check(
            syn_aug=self.syn_aug,
            random_aug=self.random_aug,
            syn_plain=self.syn_plain,
            random_plain=self.random_plain,
        )

    def score(self, weight: float = WEIGHT) -> float:
        """The augmentation-robust score in 0..1: ARS = (e^b − e^−1) / (e − e^−1). b is a mean of the gains over random:

            b = γ·[acc(syn, aug) − acc(random, aug)] + (1 − γ)·[acc(syn, plain) − acc(random, plain)].

        γ is `weight`. Raises ConfigError for a weight outside 0..1.
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
