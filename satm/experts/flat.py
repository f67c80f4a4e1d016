"""Training for flat trajectories: FTD's GSAM over the experts' own optimiser (Du et al. 2023; Zhuang et al. 2022)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from satm.errors import ConfigError
from satm.types import Images, Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatConfig:
    """GSAM's numbers, as FTD's and DATM's scripts set them."""

    rho: float = 0.01  # ρ: constant, as the learning rate is (the scripts' rho_max = rho_min)
    gap_weight: float = 0.4  # a, GSAM's α: FTD's default (DATM's script says 0.3)
    adaptive: bool = True  # ASAM's: the ball scales with the weights

    def __post_init__(self) -> None:
        if not (0 <= self.rho < math.inf and 0 <= self.gap_weight < math.inf):
            raise ConfigError(
                f"experts.flat: rho {self.rho}, gap_weight {self.gap_weight}: expected finite numbers of 0 or more"
            )


@dataclass(frozen=True, slots=True)
class FlatStep:
    """A `satm.training.Step`: two gradients of one mini-batch, then the optimiser's own step.

    With g = ∇L(θ): ε = ρ g/‖g‖, or adaptively ε = ρ θ² ⊙ g/‖ |θ| ⊙ g ‖; g_p = ∇L(θ + ε). The optimiser is given
    g_p − a g_⊥, where g_⊥ is the part of g at right angles to g_p, and moves θ, not θ + ε.
    """

    config: FlatConfig

    def __call__(
        self, network: nn.Module, images: Images, targets: Labels, optimizer: torch.optim.Optimizer
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss and the logits at θ, before the step."""
        parameters = list(network.parameters())
        logits = network(images)
        loss = F.cross_entropy(logits, targets)
        plain = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            scale = [p.abs() if self.config.adaptive else torch.ones_like(p) for p in parameters]
            scaled = [s * g for s, g in zip(scale, plain, strict=True)]
            factor = self.config.rho / _norm(scaled).clamp(min=1e-12)
            kept = [p.clone() for p in parameters]
            for p, s, d in zip(parameters, scale, scaled, strict=True):
                p.add_(factor * s * d)
        perturbed = torch.autograd.grad(F.cross_entropy(network(images), targets), parameters)
        with torch.no_grad():
            square = _dot(perturbed, perturbed)
            along = _dot(plain, perturbed) / square if square > 0 else square
            for p, before, g, g_p in zip(parameters, kept, plain, perturbed, strict=True):
                p.copy_(before)
                p.grad = g_p - self.config.gap_weight * (g - along * g_p)
        optimizer.step()
        return loss.detach(), logits.detach()


def _dot(one: tuple[torch.Tensor, ...], other: tuple[torch.Tensor, ...]) -> torch.Tensor:
    total: torch.Tensor = torch.stack([(a * b).sum() for a, b in zip(one, other, strict=True)]).sum()
    return total


def _norm(parts: list[torch.Tensor]) -> torch.Tensor:
    norm: torch.Tensor = torch.stack([part.norm() for part in parts]).norm()
    return norm
