"""The networks of one class-incremental evaluation: their initial weights, their training and their predictions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from evaluation import Recipe, train_network, watching
from satm.errors import Diverged
from satm.machine.fused import Fused
from satm.networks import NetworkPlan
from satm.progress import SILENT, Progress
from satm.rng import Seed
from satm.teachers import Teacher
from satm.training import fit, predict
from satm.types import Criterion, Examples, Mix


@dataclass(frozen=True, kw_only=True)
class Networks:
    """Creates, trains and runs networks of one architecture. All of them share the compiled code `fused`."""

    plan: NetworkPlan
    recipe: Recipe
    rates: tuple[float, ...]  # the learning rate of each incremental step
    device: torch.device | str = "cpu"
    teacher: Teacher | None = None  # the network that labels the batches, if the recipe has its labels from a teacher
    fused: Fused | None = None  # the compiled code; None: everything runs uncompiled
    progress: Progress = SILENT

    def untrained(self, seed: Seed) -> nn.Module:
        """A network with initial weights from `seed`. `trained` starts with the same weights for the same seed."""
        return self.plan.create(seed.child("weights")).to(self.device)

    def trained(self, examples: Examples, seed: Seed, *, step: int) -> nn.Module:
        """Train a new network on `examples` by the recipe, with the learning rate of incremental step `step`.

        If the network diverges, a network with NaN for all weights is returned. `protocols.result.judge` recognises it
        and gives it the accuracies of a guess. Raises Interrupted after an epoch if the user asks to stop. Raises
        ConfigError as `evaluation.train_network`.
        """
        with self.progress.bar(f"training on {len(examples)} images", self.recipe.epochs) as bar:
            try:
                return train_network(
                    examples,
                    self.plan,
                    self.recipe,
                    learning_rate=self.rates[step],
                    seed=seed,
                    device=self.device,
                    teacher=self.teacher,
                    fused=self.fused,
                    on_epoch=watching(self.progress, bar),
                )
            except Diverged:
                return _without_weights(self.untrained(seed))

    def train_further(
        self, network: nn.Module, examples: Examples, seed: Seed, *, step: int, mix: Mix, criterion: Criterion
    ) -> None:
        """Train `network` in place by the recipe, as `trained` does, but with another loss.

        `mix` replaces the mixing of the recipe, and `criterion` gets the targets that `mix` returns. Every weight
        becomes NaN if the network diverges. Raises Interrupted and ConfigError as `trained`.
        """
        recipe = self.recipe.on(self.plan.name)
        self.plan.check_batches(len(examples), recipe.batch_size)
        with self.progress.bar(f"training on {len(examples)} images", recipe.epochs) as bar:
            try:
                fit(
                    network,
                    examples,
                    recipe.optimisation(self.rates[step]),
                    seed=seed.child("training"),
                    criterion=criterion,
                    augment=recipe.augmentation,
                    mix=mix,
                    on_epoch=watching(self.progress, bar),
                )
            except Diverged:
                _without_weights(network)

    def logits(self, network: nn.Module, examples: Examples) -> torch.Tensor:
        """The logits [n, K] of `network` for the n examples, on the CPU."""
        return predict(network, examples, fused=self.fused)


def _without_weights(network: nn.Module) -> nn.Module:
    """Set every weight of `network` to NaN, and return the network in evaluation mode."""
    for weight in network.parameters():
        weight.data.fill_(torch.nan)
    return network.eval()
