"""The sampler of a study, which draws the settings of each trial: Optuna's TPE, seeded anew for every trial.

The draws for a trial depend only on the seed, the number of the trial and the earlier trials.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from satm.rng import Seed


class SeededTPE(BaseSampler):
    """Optuna's TPE sampler (tree-structured Parzen estimator) with a new seed for each trial.

    If Optuna's sampler had one seed for all trials, the trials of one call of `tune` would share one stream of random
    numbers. A later call starts this stream again, so a continued study would draw the same numbers as for its first
    trials.
    """

    def __init__(self, seed: int) -> None:
        self._seed = Seed(seed).child("tune")
        self._tpe = TPESampler(seed=0)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Start the random numbers of this trial."""
        self._tpe = TPESampler(seed=self._seed.child("trial", trial.number).value % 2**32)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Do the same as TPE."""
        return self._tpe.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Do the same as TPE."""
        return self._tpe.sample_relative(study, trial, dict(search_space))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Do the same as TPE."""
        return self._tpe.sample_independent(study, trial, param_name, param_distribution)
