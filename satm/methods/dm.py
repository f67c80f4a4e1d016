"""DM: dataset condensation with distribution matching (Zhao and Bilen 2023)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import nn

from satm import networks
from satm.augment import DSA, STRATEGY
from satm.engine import FlatNetwork, flatten
from satm.errors import ConfigError
from satm.matching import distribution_distance
from satm.methods.base import METHODS, Task
from satm.methods.checks import check_distribution_matching
from satm.methods.direct.condensation import (
    DirectCondensation,
    DirectConfig,
    classes_at_once,
)
from satm.methods.direct.method import DirectMethod
from satm.rng import Seed
from satm.types import FlatParams, Images

AT_ONCE = 256
"""The features of several classes are computed together if these classes have at most this many images in all. This
does not change the loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DMConfig(DirectConfig):
    """Matches the mean features of synthetic and real images, class by class:

        min_φ E_ψ E_ω Σ_k ‖mean ψ(A(φ_k, ω)) − mean ψ(A(T_k, ω))‖²

    φ_k and T_k are the synthetic and the real images of class k. ψ is a fresh network without its last layer. A is the
    augmentation, and ω is its random draw, one for each class. The default values are those of DM's code (main_DM.py at
    53f63a6).
    """

    outer_steps: int = 20_000  # each step draws a fresh network and updates φ once
    lr_images: float = 1.0
    augment: str | None = STRATEGY  # augmentations in DSA's notation, the same draw for φ_k and T_k; null: none

    def __post_init__(self) -> None:
        DirectConfig.__post_init__(self)  # not super(): slots make a new class, and super() finds the old one
        if self.outer_steps < 0:
            raise ConfigError(f"outer_steps {self.outer_steps}: expected 0 or more")
        if self.augment is not None:
            DSA(self.augment)

    @property
    def steps(self) -> int:
        """The number of updates of φ."""
        return self.outer_steps

    def at_most(self, steps: int) -> Self:
        """See `DirectConfig`."""
        return replace(self, outer_steps=min(self.outer_steps, steps))

    def images_a_step(self, classes: int, ipc: int) -> float:
        """See `DirectConfig`. Real images pass the network only forwards, so each costs about a third."""
        return classes * (self.batch_real / 3 + ipc)


class DistributionMatching(DirectCondensation):
    """A condensation by distribution matching. Each outer step draws a fresh network and updates φ once."""

    def __init__(self, task: Task, config: DMConfig) -> None:
        super().__init__(task, config, config.augment)
        embed = self.embed = FlatNetwork(networks.features(self.network))

        def embedded(theta: FlatParams, images: Images) -> torch.Tensor:
            found: torch.Tensor = embed(theta, images.flatten(0, 1)).unflatten(0, images.shape[:2])
            return found

        def distance(images: Images, theta: FlatParams, real: torch.Tensor) -> torch.Tensor:
            return distribution_distance(embedded(theta, images), real)

        def mean_embedding(theta: FlatParams, images: Images) -> torch.Tensor:
            return embedded(theta, images).mean(dim=1, keepdim=True)

        def match(images: Images, theta: FlatParams, real: torch.Tensor) -> tuple[Images, torch.Tensor]:
            gradient, value = torch.func.grad_and_value(distance)(images, theta, real)
            return gradient, value

        self.embedded = embedded
        self.mean_embedding = self.fused(mean_embedding)
        self.match = self.fused(match)

    def parameters(self, seed: Seed) -> FlatParams:
        """See `DirectCondensation`: the parameters of a fresh ψ."""
        return flatten(networks.features(self.drawn(seed)).parameters()).detach()

    def embedding(self, theta: FlatParams) -> nn.Module:
        """See `DirectCondensation`: ψ itself, because θ are its parameters."""
        self.embed.load(theta)
        return self.embed.network

    @torch.no_grad()
    def matched(self, theta: FlatParams, synthetic: Images, real: Images) -> tuple[Images, torch.Tensor]:
        """See `DirectCondensation`: D is the squared distance between the mean features, and θ are ψ's parameters."""
        classes = len(synthetic)
        k = classes_at_once(classes, synthetic.shape[1], AT_ONCE)
        k_real = classes_at_once(k, real.shape[1], AT_ONCE)
        gradients, total = [], theta.new_zeros(())
        for some in torch.arange(classes, device=synthetic.device).split(k):
            means = torch.cat([self.mean_embedding(theta, real[part]) for part in some.split(k_real)])
            gradient, value = self.match(synthetic[some], theta, means)
            gradients.append(gradient)
            total = total + value
        return torch.cat(gradients), total


METHODS.add(
    DirectMethod(
        name="dm",
        summary="distribution matching under siamese augmentation (Zhao and Bilen 2023)",
        cite=("zhao2023dm",),
        config=DMConfig,
        recipe="dm",
        data_settings=lambda traits: {"augment": traits.augment},
        begin=DistributionMatching,
        check=check_distribution_matching,
    )
)
