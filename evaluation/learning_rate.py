"""Finds the learning rate of an evaluation: a given number, the set's own step size, or the best rate of a grid.

The rates of a grid are compared by the accuracy of networks on the validation split. Network r is trained on the same
images at every rate, each time from the same seed. So the networks of two rates are pairs that differ only in the rate.
Let a(η, r) be the validation accuracy of network r at rate η, or 0 if the network diverges:

    chosen rate = argmax_η mean_r a(η, r)

Of several rates with the same mean, the first one is chosen. If the best rate is the lowest or the highest of the grid,
one more rate is tried. This rate is η₂²/η₁, where η₂ is the best rate and η₁ is its only neighbour in the sorted grid.
"""

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
"""How a learning rate is found: "learned" is the step size of the set, and "grid" is the best of several rates, which
are called the grid. A number is the learning rate itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateChoice:
    """A learning rate that was chosen from a grid, and the numbers that led to the choice."""

    rate: float  # the chosen learning rate
    # The mean validation accuracy (0..1) of each rate, in the order in which the rates were tried.
    scores: Mapping[float, float] = field(default_factory=dict)
    networks: int = 1  # the number of networks in each mean
    extended: float | None = None  # the rate beyond the grid that was tried too; None if the grid was not extended
    # Whether `rate` is the lowest or the highest of all rates tried; None if it is neither, or if only one was tried.
    edge: Literal["lowest", "highest"] | None = None

    def facts(self) -> dict[str, Any]:
        """Everything except `rate`, as a dictionary that can be stored as JSON. `from_facts` is the inverse."""
        scores = [list(pair) for pair in self.scores.items()]
        return {"scores": scores, "networks": self.networks, "extended": self.extended, "edge": self.edge}

    @classmethod
    def from_facts(cls, rate: float, facts: Mapping[str, Any]) -> RateChoice:
        """Rebuild the choice of `rate` from its stored `facts`. For a result of an older version, `facts` is {}."""
        return cls(**{**facts, "rate": rate, "scores": dict(facts.get("scores", ()))})


def stated_learning_rate(policy: RatePolicy, examples: Examples) -> tuple[float, Literal["learned", "fixed"]] | None:
    """The learning rate and its source, if the rate is known without training; otherwise None.

    If the policy is a number, the rate is this number, and the source is "fixed". If the policy is "learned" and the
    examples are a synthetic set with a step size, the rate is the step size, and the source is "learned". In all other
    cases the rate has to be chosen by `choose_learning_rate`.
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
    """Train networks at every learning rate of a grid, and choose the rate with the best mean validation accuracy.

    If the grid is extended by one more rate (see the top of this file), `progress` shows a message. With a single draw
    it is never extended, as in older versions of this function.

    Args:
        draws: the images to train on, one entry for each network. For a synthetic set, every entry is this same set.
            For random real images, each entry is another random draw of images.
        validation: the images to test on.
        grid: the learning rates to try; None: the grid of the recipe.
        fused: compiled code for the networks; None: train uncompiled.

    Raises ConfigError if there are no validation images or no draws, Diverged if every network diverges, and
    Interrupted if the user asks to stop.
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
    """Trains the networks that are used to compare rates. The fields are arguments of `choose_learning_rate`."""

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
        """For each rate, the validation accuracy of every network, or None for a network that diverges."""
        total = len(rates) * len(self.draws) * self.recipe.epochs
        with self.progress.bar(f"{self.plan.name}: learning rate", total) as bar:
            return {rate: [self._accuracy(rate, k, bar) for k in range(len(self.draws))] for rate in rates}

    def choice(self, scores: Mapping[float, float], *, extended: float | None = None) -> RateChoice:
        """The choice of the best rate. `scores` are mean accuracies by rate, `extended` is a field of the result."""
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
        """Train a network on draw `number` at the learning rate `rate`, and return its validation accuracy.

        Returns None if the network diverges.
        """
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
    """The mean accuracy of each rate. A network that diverged has the accuracy 0."""
    return {rate: fmean(value or 0.0 for value in values) for rate, values in accuracies.items()}


def _best(scores: Mapping[float, float]) -> float:
    """The rate with the highest score. If several rates have the highest score, the first of them."""
    return max(scores, key=scores.__getitem__)


def _beyond(grid: Sequence[float], best: float) -> float | None:
    """A new rate outside `grid`, next to `best`, if `best` is the lowest or the highest rate of the grid.

    The ratio of the new rate to `best` is the ratio of `best` to its neighbour in the grid. Returns None if `best` is
    neither the lowest nor the highest rate, or if the grid has a single rate.
    """
    rates = sorted(set(grid))
    if len(rates) < 2 or best not in (rates[0], rates[-1]):
        return None
    last, before = (rates[0], rates[1]) if best == rates[0] else (rates[-1], rates[-2])
    return last * last / before
