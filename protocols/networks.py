"""The networks of one class-incremental evaluation: how they start, how a recipe trains them, what they predict."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from evaluation import Recipe, train_network, watching
from satm import networks
from satm.machine.fused import Fused
from satm.progress import SILENT, Progress
from satm.rng import Seed
from satm.training import predict
from satm.types import Examples


@dataclass(frozen=True, kw_only=True)
class Networks:
    """One architecture and how it is trained; compiled code is shared by every network, memory size and test."""

    architecture: str
    num_classes: int
    image_shape: tuple[int, int, int]  # C, H, W
    recipe: Recipe
    rates: tuple[float, ...]  # learning rate of each step
    device: torch.device | str = "cpu"
    fused: Fused | None = None
    progress: Progress = SILENT

    def untrained(self, seed: Seed) -> nn.Module:
        """The network that `trained` starts from at the same seed."""
        return networks.create(
            self.architecture,
            num_classes=self.num_classes,
            image_shape=self.image_shape,
            seed=seed.child("weights"),
        ).to(self.device)

    def trained(self, examples: Examples, seed: Seed, *, step: int) -> nn.Module:
        """A fresh network trained on `examples` by the recipe at the step's learning rate.

        Raises as `evaluation.train_network`, and Interrupted after any epoch when asked to stop.
        """
        with self.progress.bar(f"training on {len(examples)} images", self.recipe.epochs) as bar:
            return train_network(
                examples,
                networks.plan(self.architecture, num_classes=self.num_classes, image_shape=self.image_shape),
                self.recipe,
                learning_rate=self.rates[step],
                seed=seed,
                device=self.device,
                fused=self.fused,
                on_epoch=watching(self.progress, bar),
            )

    def logits(self, network: nn.Module, examples: Examples) -> torch.Tensor:
        """[n, K] on the CPU."""
        return predict(network, examples, fused=self.fused)
