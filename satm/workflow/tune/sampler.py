"""The sampler of a study: TPE, whose draws for a trial depend only on the seed, its number and the trials before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from satm.rng import Seed


class SeededTPE(BaseSampler):
    """Optuna's TPE with a fresh seed for each trial.

    Optuna's own seed starts a stream that goes from trial to trial, and starts it again in each session: a study that
    is continued would draw its first trials once more.
    """

    def __init__(self, seed: int) -> None:
        self._seed = Seed(seed).child("tune")
        self._tpe = TPESampler(seed=0)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Begin the stream of this trial."""
        self._tpe = TPESampler(seed=self._seed.child("trial", trial.number).value % 2**32)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As TPE."""
        return self._tpe.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As TPE."""
        return self._tpe.sample_relative(study, trial, dict(search_space))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """As TPE."""
        return self._tpe.sample_independent(study, trial, param_name, param_distribution)
