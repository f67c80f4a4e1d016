"""Scores of repeated trainings, and the learning rate chosen where a set brings none."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from evaluation.recipe import Recipe
from evaluation.train import train_network, watching
from satm.errors import ConfigError, Diverged
from satm.machine.fused import Fused
from satm.progress import SILENT, Progress
from satm.rng import Seed
from satm.synthetic import SyntheticSet
from satm.training import accuracy
from satm.types import Examples


@dataclass(frozen=True, slots=True)
class Score:
    """Accuracies (fractions in 0..1) of networks that differ in their seed alone.

    >>> str(Score((0.44, 0.46)))
    '45.0 ± 1.0 (n=2)'
    """

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ConfigError("a score of no values; expected one accuracy or more")

    @property
    def mean(self) -> float:
        """Fraction in 0..1."""
        return statistics.fmean(self.values)

    @property
    def std(self) -> float:
        """Population standard deviation, as the field reports it; 0 for a single value."""
        return statistics.pstdev(self.values)

    @property
    def n(self) -> int:
        """How many values."""
        return len(self.values)

    def __str__(self) -> str:
        return f"{100 * self.mean:.1f} ± {100 * self.std:.1f} (n={self.n})"


def stated_learning_rate(
    policy: Literal["learned", "grid"] | float, examples: Examples
) -> tuple[float, Literal["learned", "fixed"]] | None:
    """The learning rate that needs no choosing, and where it came from: a number, or the step size of a synthetic set.

    None for "grid", and for "learned" where the examples bring no step size.
    """
    if not isinstance(policy, str):
        return policy, "fixed"
    if policy == "learned" and isinstance(examples, SyntheticSet) and examples.step_size is not None:
        return examples.step_size, "learned"
    return None


def choose_learning_rate(
    examples: Examples,
    validation: Examples,
    grid: Sequence[float],
    *,
    architecture: str,
    num_classes: int,
    image_shape: tuple[int, int, int],
    recipe: Recipe,
    seed: Seed,
    device: torch.device | str = "cpu",
    fused: Fused | None = None,
    progress: Progress = SILENT,
) -> tuple[float, dict[float, float]]:
    """The learning rate of `grid` whose network does best on `validation`, and the accuracy (0..1) of each.

    All networks share one seed, so that they differ in the learning rate alone; of equals the first wins. One that
    diverges scores 0. Raises ConfigError without validation images, Diverged when every network diverges, Interrupted
    when asked to stop.
    """
    if not len(validation):
        raise ConfigError(
            "no validation images to choose a learning rate on; hold some out, or state the learning rate"
        )
    scores: dict[float, float] = {}
    diverged = 0
    with progress.bar(f"{architecture}: learning rate", len(grid) * recipe.epochs) as bar:
        for learning_rate in grid:
            try:
                network = train_network(
                    examples,
                    architecture=architecture,
                    num_classes=num_classes,
                    image_shape=image_shape,
                    recipe=recipe,
                    learning_rate=learning_rate,
                    seed=seed,
                    device=device,
                    fused=fused,
                    on_epoch=watching(progress, bar),
                )
                scores[learning_rate] = accuracy(network, validation, fused=fused)
            except Diverged:
                scores[learning_rate] = 0.0
                diverged += 1
    if diverged == len(scores):
        raise Diverged(f"{architecture} diverges at every learning rate of {list(grid)}; add lower ones to the grid")
    return max(scores, key=scores.__getitem__), scores
