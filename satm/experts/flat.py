"""Flat expert trajectories (FTD, Du et al. 2023): experts that are trained with GSAM.

GSAM (Zhuang et al. 2022) is sharpness-aware training: it replaces the gradient that the experts' optimiser gets, and
leads the experts to flat regions of the loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from satm.errors import ConfigError
from satm.machine.fused import GradientAt
from satm.types import FlatParams


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatConfig:
    """The settings of GSAM. The default of `rho` is the value in the scripts of FTD and DATM.

    In GSAM, ρ follows the schedule of the learning rate. The experts' learning rate is constant, so ρ is constant, too,
    as in these scripts (rho_max = rho_min).
    """

    rho: float = 0.01  # ρ, the size of the perturbation ε; see `FlatGradient`
    # The factor `a` in `FlatGradient` (GSAM's α). The default is from FTD's script; presets use the papers' values.
    gap_weight: float = 0.4
    adaptive: bool = True  # as in ASAM: the perturbation of a weight scales with the size of this weight

    def __post_init__(self) -> None:
        if not (0 <= self.rho < math.inf and 0 <= self.gap_weight < math.inf):
            raise ConfigError(
                f"experts.flat: rho {self.rho}, gap_weight {self.gap_weight}: expected finite numbers of 0 or more"
            )


@dataclass(frozen=True, slots=True)
class FlatGradient:
    """A `satm.machine.fused.GradientRule` that computes two gradients on one mini-batch.

    L is the loss of the mini-batch at the parameters θ [P]. With g = ∇L(θ), the perturbation is ε = ρ g/‖g‖, or
    ε = ρ θ² ⊙ g/‖ |θ| ⊙ g ‖ if `adaptive` (⊙ multiplies entry by entry). The second gradient is g_p = ∇L(θ + ε). The
    optimiser gets g_p − a g_⊥. Here g_⊥ is the part of g that is orthogonal to g_p, and a is `gap_weight`. The
    optimiser moves θ, not θ + ε.
    """

    config: FlatConfig

    def __call__(self, at: GradientAt, theta: FlatParams) -> tuple[FlatParams, torch.Tensor, torch.Tensor]:
        """Return g_p − a g_⊥ [P], the loss at θ and the logits at θ. `at` computes gradients on the mini-batch."""
        g, loss, logits = at(theta)
        scale = theta.abs() if self.config.adaptive else torch.ones_like(theta)
        scaled = scale * g
        perturbed, _, _ = at(theta + self.config.rho / scaled.norm().clamp(min=1e-12) * scale * scaled)
        square = perturbed @ perturbed
        along = g @ perturbed / square if square > 0 else square
        return perturbed - self.config.gap_weight * (g - along * perturbed), loss, logits
