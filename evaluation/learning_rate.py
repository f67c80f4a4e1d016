"""The learning rate of an evaluation: given as a number, learned with the set, or chosen on the validation split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Literal, TypeAlias

import torch

from evaluation.recipe import Recipe
from evaluation.train import train_network, watching
from satm.errors import ConfigError, Diverged
from satm.machine.fused import Fused
from satm.networks import NetworkPlan
from satm.progress import SILENT, Bar, Progress
from satm.rng import Seed
from satm.synthetic import SyntheticSet
from satm.teachers import Teacher
from satm.training import accuracy
from satm.types import Examples

RatePolicy: TypeAlias = Literal["learned", "grid"] | float
"""The step size of the set, the best rate of the grid, or a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateChoice:
    """A learning rate that was chosen from a grid, and how."""

    rate: float
    scores: Mapping[float, float] = field(default_factory=dict)  # mean validation accuracy (0..1) by rate, as tried
    networks: int = 1  # the number of networks in each mean
    extended: float | None = None  # the rate that was tried beyond the grid, because the best one was at its edge
    edge: Literal["lowest", "highest"] | None = None  # of all rates that were tried, if the chosen one is such a rate

    def facts(self) -> dict[str, Any]:
        """For the detail of a result, JSON-able; `from_facts` is the inverse."""
        scores = [list(pair) for pair in self.scores.items()]
        return {"scores": scores, "networks": self.networks, "extended": self.extended, "edge": self.edge}

    @classmethod
    def from_facts(cls, rate: float, facts: Mapping[str, Any]) -> RateChoice:
        """The choice of `rate` with its stored facts; {} for a result from before they were stored."""
        return cls(**{**facts, "rate": rate, "scores": {rate: score for rate, score in facts.get("scores", ())}})


def stated_learning_rate(policy: RatePolicy, examples: Examples) -> tuple[float, Literal["learned", "fixed"]] | None:
    """The learning rate that is known before training, and where it came from.

    It is the number of the policy ("fixed") or the step size of a synthetic set ("learned"). None if the policy is
    "grid", or if it is "learned" and the examples have no step size; then call `choose_learning_rate`.
    """
    if not isinstance(policy, str):
        return policy, "fixed"
    if policy == "learned" and isinstance(examples, SyntheticSet) and examples.step_size is not None:
        return examples.step_size, "learned"
    return None


def choose_learning_rate(
    draws: Sequence[Examples],
    validation: Examples,
    plan: NetworkPlan,
    recipe: Recipe,
    *,
    grid: Sequence[float] | None = None,
    seed: Seed,
    device: torch.device | str = "cpu",
    teacher: Teacher | None = None,
    fused: Fused | None = None,
    progress: Progress = SILENT,
) -> RateChoice:
    """The learning rate whose networks have the best mean accuracy on `validation`.

    Network r is trained on `draws[r]`, at every rate of `grid` (by default the recipe's) from the same seed. So the
    networks of two rates are pairs that differ only in the rate. A set is given as often as networks are wanted; random
    images are another draw each time. With a(η, r) the validation accuracy of network r at rate η, 0 if it diverges,

        chosen = argmax_η mean_r a(η, r);  of equally good rates the first one.

    If the best rate is the lowest or the highest of the grid, one rate beyond it is tried too: for a grid that ends in
    η₁ and η₂, that is η₂²/η₁. Progress says so. With a single draw the grid is never extended, as before this rule.

    Raises ConfigError if there are no validation images or no draws, Diverged if every network diverges, and
    Interrupted if the user asked to stop.
    """
    if not len(validation):
        raise ConfigError(
            "no validation images to choose a learning rate on; hold some out, or give the learning rate as a number "
            "(--learning-rate)"
        )
    if not draws:
        raise ConfigError("no draws to choose a learning rate by; give one for each network, five or more")
    grid = recipe.grid if grid is None else grid
    trial = _Trial(
        draws=draws,
        validation=validation,
        plan=plan,
        recipe=recipe,
        seed=seed,
        device=device,
        teacher=teacher,
        fused=fused,
        progress=progress,
    )
    accuracies = trial.accuracies(grid)
    if all(value is None for values in accuracies.values() for value in values):
        raise Diverged(f"{plan.name} diverges at every learning rate of {list(grid)}; add lower ones to the grid")
    found = _means(accuracies)
    if len(draws) == 1 or (beyond := _beyond(grid, _best(found))) is None:
        return trial.choice(found)
    choice = trial.choice(found | _means(trial.accuracies((beyond,))), extended=beyond)
    progress.say(
        f"{plan.name}: learning rate {_best(found):g} is at the edge of the grid ({min(grid):g} to {max(grid):g}); "
        f"{beyond:g} was tried too, and {choice.rate:g} is chosen"
        + (f", still the {choice.edge}: name a rate or a recipe with a wider grid" if choice.edge else "")
    )
    return choice


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """Trains the networks that judge learning rates."""

    draws: Sequence[Examples]
    validation: Examples
    plan: NetworkPlan
    recipe: Recipe
    seed: Seed
    device: torch.device | str
    teacher: Teacher | None
    fused: Fused | None
    progress: Progress

    def accuracies(self, rates: Sequence[float]) -> dict[float, list[float | None]]:
        """For each rate the validation accuracy of every network; None if it diverges."""
        total = len(rates) * len(self.draws) * self.recipe.epochs
        with self.progress.bar(f"{self.plan.name}: learning rate", total) as bar:
            return {rate: [self._accuracy(rate, k, bar) for k in range(len(self.draws))] for rate in rates}

    def choice(self, scores: Mapping[float, float], *, extended: float | None = None) -> RateChoice:
        """The best rate of `scores`."""
        best = _best(scores)
        ends: dict[float, Literal["lowest", "highest"]] = {min(scores): "lowest", max(scores): "highest"}
        return RateChoice(
            rate=best,
            scores=scores,
            networks=len(self.draws),
            extended=extended,
            edge=ends.get(best) if len(scores) > 1 else None,
        )

    def _accuracy(self, rate: float, number: int, bar: Bar) -> float | None:
        """The validation accuracy of a network on draw `number`; None if it diverges."""
        try:
            network = train_network(
                self.draws[number],
                self.plan,
                self.recipe,
                learning_rate=rate,
                seed=self.seed.child("network", number) if number else self.seed,
                device=self.device,
                teacher=self.teacher,
                fused=self.fused,
                on_epoch=watching(self.progress, bar),
            )
        except Diverged:
            return None
        return accuracy(network, self.validation, fused=self.fused)


def _means(accuracies: Mapping[float, Sequence[float | None]]) -> dict[float, float]:
    """The mean accuracy of each rate; a network that diverged has 0."""
    return {rate: fmean(value or 0.0 for value in values) for rate, values in accuracies.items()}


def _best(scores: Mapping[float, float]) -> float:
    """The rate with the highest score; of equals the first."""
    return max(scores, key=scores.__getitem__)


def _beyond(grid: Sequence[float], best: float) -> float | None:
    """One rate beyond `grid` by the ratio of its last two rates, if `best` is at an edge; None if it is not."""
    rates = sorted(set(grid))
    if len(rates) < 2 or best not in (rates[0], rates[-1]):
        return None
    last, before = (rates[0], rates[1]) if best == rates[0] else (rates[-1], rates[-2])
    return last * last / before
