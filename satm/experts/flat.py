"""Training for flat trajectories: FTD's GSAM over the experts' own optimiser (Du et al. 2023; Zhuang et al. 2022)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from satm.errors import ConfigError
from satm.machine.fused import GradientAt
from satm.types import FlatParams


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
class FlatGradient:
    """A `satm.machine.fused.GradientRule`: two gradients of one mini-batch.

    With g = ∇L(θ): ε = ρ g/‖g‖, or adaptively ε = ρ θ² ⊙ g/‖ |θ| ⊙ g ‖; g_p = ∇L(θ + ε). The optimiser is given
    g_p − a g_⊥, where g_⊥ is the part of g at right angles to g_p, and moves θ, not θ + ε.
    """

    config: FlatConfig

    def __call__(self, at: GradientAt, theta: FlatParams) -> tuple[FlatParams, torch.Tensor, torch.Tensor]:
        """g_p − a g_⊥ [P], and the loss and the logits at θ."""
        g, loss, logits = at(theta)
        scale = theta.abs() if self.config.adaptive else torch.ones_like(theta)
        scaled = scale * g
        perturbed, _, _ = at(theta + self.config.rho / scaled.norm().clamp(min=1e-12) * scale * scaled)
        square = perturbed @ perturbed
        along = g @ perturbed / square if square > 0 else square
        return perturbed - self.config.gap_weight * (g - along * perturbed), loss, logits
