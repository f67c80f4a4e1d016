"""The networks of one class-incremental evaluation: their start, their training by a recipe, their predictions."""

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
from satm.training import predict
from satm.types import Examples


@dataclass(frozen=True, kw_only=True)
class Networks:
    """One architecture and its training. All networks share one compiled code, at every memory size."""

    plan: NetworkPlan
    recipe: Recipe
    rates: tuple[float, ...]  # learning rate of each incremental step
    device: torch.device | str = "cpu"
    teacher: Teacher | None = None  # labels the batches of a recipe that has its labels from one
    fused: Fused | None = None
    progress: Progress = SILENT

    def untrained(self, seed: Seed) -> nn.Module:
        """The network from which `trained` starts at the same seed."""
        return self.plan.create(seed.child("weights")).to(self.device)

    def trained(self, examples: Examples, seed: Seed, *, step: int) -> nn.Module:
        """A fresh network trained on `examples` by the recipe, at the learning rate of incremental step `step`.

        If it diverges, all its weights are NaN: there is nothing to test, and `judge` counts it as a guess. Otherwise
        raises as `evaluation.train_network`, and Interrupted after an epoch if the user asks to stop.
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

    def logits(self, network: nn.Module, examples: Examples) -> torch.Tensor:
        """[n, K] on the CPU."""
        return predict(network, examples, fused=self.fused)


def _without_weights(network: nn.Module) -> nn.Module:
    """`network` with NaN in place of every weight."""
    for weight in network.parameters():
        weight.data.fill_(torch.nan)
    return network.eval()
