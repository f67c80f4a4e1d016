"""Adaptive sharpness-aware minimisation (ASAM; Kwon et al. 2021, element-wise)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from satm.methods.outer.ascent import TwoPasses, along, ascend
from satm.methods.outer.check import not_negative
from satm.methods.outer.problem import OuterProblem, OuterUpdate, State
from satm.methods.outer.rule import OUTER, OuterOptimiser, Redraw


@dataclass(frozen=True, slots=True, kw_only=True)
class ASAM(TwoPasses):
    """SAM with a radius in proportion to each pixel:

        T = diag(|φ| + η)
        ε = ρ T² ∇F(φ)/‖T ∇F(φ)‖₂, the worst point of the ball ‖T⁻¹ε‖₂ ≤ ρ
        φ descends ∇F(φ + ε)

    So ρ is a length relative to the pixels, not one in pixel units. It suits sets whose pixels differ much in size.
    """

    rule: Literal["asam"] = "asam"
    rho: float = 0.01  # ρ: the radius ‖T⁻¹ε‖₂ over the whole set; our choice, the same as SATM's
    eta: float = 0.01  # η keeps T away from zero; ASAM's value

    def __post_init__(self) -> None:
        not_negative(rho=self.rho, eta=self.eta)

    def __call__(self, problem: OuterProblem, generator: torch.Generator, redraw: Redraw, state: State) -> OuterUpdate:
        """See `OuterRule`."""
        scale = problem.at.images.abs() + self.eta
        return ascend(self, problem, redraw, lambda gradient: scale * along(scale * gradient, self.rho)).update()


OUTER.add(
    OuterOptimiser(name="asam", summary="SAM with a radius in proportion to each pixel (Kwon et al. 2021)", config=ASAM)
)
