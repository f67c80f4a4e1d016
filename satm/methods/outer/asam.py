"""Adaptive sharpness-aware minimisation (ASAM; Kwon et al. 2021, element-wise)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from satm.engine import InnerLoop
from satm.methods.outer.ascent import along, ascend
from satm.methods.outer.check import not_negative
from satm.methods.outer.problem import OUTER, OuterOptimiser, OuterProblem, OuterUpdate, State, TwoPasses


@dataclass(frozen=True, slots=True, kw_only=True)
class ASAM(TwoPasses):
    """ε = ρ T² ∇F/‖T ∇F‖₂ with T = diag(|φ| + η): the ball ‖T⁻¹ε‖₂ ≤ ρ scales with the pixels it moves.

    ρ is therefore a length relative to the pixels, not one in their units. φ descends ∇F(φ + ε).
    """

    rule: Literal["asam"] = "asam"
    rho: float = 0.01  # ρ: ‖T⁻¹ε‖₂ over the whole set; ours, as SATM's
    eta: float = 0.01  # η keeps T away from nought; ASAM's

    def __post_init__(self) -> None:
        not_negative(rho=self.rho, eta=self.eta)

    def __call__(
        self, problem: OuterProblem, generator: torch.Generator, redraw: Callable[[], InnerLoop], state: State
    ) -> OuterUpdate:
        """See `OuterRule`."""
        scale = problem.at.images.abs() + self.eta
        return ascend(self, problem, redraw, lambda gradient: scale * along(scale * gradient, self.rho)).update()


OUTER.add(
    OuterOptimiser(name="asam", summary="SAM with a radius in proportion to each pixel (Kwon et al. 2021)", config=ASAM)
)
