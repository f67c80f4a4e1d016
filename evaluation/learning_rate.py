"""The learning rate of an evaluation: given as a number, learned with the set, or chosen on the validation split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from evaluation.recipe import Recipe
from evaluation.train import train_network, watching
from satm.errors import ConfigError, Diverged
from satm.machine.fused import Fused
from satm.networks import NetworkPlan
from satm.progress import SILENT, Progress
from satm.rng import Seed
from satm.synthetic import SyntheticSet
from satm.teachers import Teacher
from satm.training import accuracy
from satm.types import Examples


def stated_learning_rate(
    policy: Literal["learned", "grid"] | float, examples: Examples
) -> tuple[float, Literal["learned", "fixed"]] | None:
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
    examples: Examples,
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
) -> tuple[float, dict[float, float]]:
    """The learning rate whose network has the best accuracy on `validation`, and the accuracy (0..1) of each rate.

    Trains one network for each rate of `grid`, by default the recipe's grid, with the labels of `teacher` if the recipe
    takes its labels from one. All networks have the same seed, so they differ only in the learning rate. Of equally
    good rates the first one in `grid` is taken. A network that diverges scores 0. Raises ConfigError if there are no
    validation images, Diverged if every network diverges, and Interrupted if the user asked to stop.
    """
    if not len(validation):
        raise ConfigError(
            "no validation images to choose a learning rate on; hold some out, or give the learning rate as a number "
            "(--learning-rate)"
        )
    grid = recipe.grid if grid is None else grid
    scores: dict[float, float] = {}
    diverged = 0
    with progress.bar(f"{plan.name}: learning rate", len(grid) * recipe.epochs) as bar:
        for learning_rate in grid:
            try:
                network = train_network(
                    examples,
                    plan,
                    recipe,
                    learning_rate=learning_rate,
                    seed=seed,
                    device=device,
                    teacher=teacher,
                    fused=fused,
                    on_epoch=watching(progress, bar),
                )
                scores[learning_rate] = accuracy(network, validation, fused=fused)
            except Diverged:
                scores[learning_rate] = 0.0
                diverged += 1
    if diverged == len(grid):
        raise Diverged(f"{plan.name} diverges at every learning rate of {list(grid)}; add lower ones to the grid")
    return max(scores, key=scores.__getitem__), scores
