"""Adaptive sharpness-aware minimisation (ASAM; Kwon et al. 2021, element-wise)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from satm.methods.outer.ascent import TwoPasses, along, ascend
from satm.methods.outer.check import not_negative
from satm.methods.outer.length import Length
from satm.methods.outer.problem import OuterProblem, OuterUpdate, State
from satm.methods.outer.rule import OUTER, OuterOptimiser, Redraw


@dataclass(frozen=True, slots=True, kw_only=True)
class ASAM(TwoPasses):
    """SAM with a perturbation ε that is larger at pixels with a larger absolute value:

        T = diag(|φ| + η)
        ε = r‖φ‖₂ T² ∇F(φ)/‖T² ∇F(φ)‖₂       if `radius` is set
        ε = ρ T² ∇F(φ)/‖T ∇F(φ)‖₂            if `rho` is set: the worst point of the ball ‖T⁻¹ε‖₂ ≤ ρ, as published
        φ descends ∇F(φ + ε)

    diag(…) is the diagonal matrix with one entry for each pixel, and η is `eta`. ε has the same direction in both
    cases. r is ‖ε‖₂ divided by ‖φ‖₂, as in every rule. In the other rules ρ is ‖ε‖₂, in the unit of the pixels. Here ρ
    is ‖T⁻¹ε‖₂, in which each entry of ε is divided by |φ| + η of its own pixel, so ρ has no unit. The rule suits sets
    in which the absolute values of the pixels differ much.
    """

    rule: Literal["asam"] = "asam"
    eta: float = 0.01  # η, which keeps the entries of T away from zero; the value of the ASAM paper

    def __post_init__(self) -> None:
        TwoPasses.__post_init__(self)  # `super()` does not work in a dataclass with slots
        not_negative(eta=self.eta)

    def perturbation_length(self) -> Length:
        """The length of ε or, if `rho` is set, the length of T⁻¹ε; see `OuterRule`."""
        return Length(self.radius, self.rho, self.ramp, elementwise=True)

    def __call__(self, problem: OuterProblem, generator: torch.Generator, redraw: Redraw, state: State) -> OuterUpdate:
        """Return the update of one outer step; see `OuterRule`."""
        scale, length = problem.at.images.abs() + self.eta, self.length_at(problem)

        def perturb(gradient: torch.Tensor) -> torch.Tensor:
            if self.rho is not None:
                return scale * along(scale * gradient, length)
            return along(scale * scale * gradient, length)

        return ascend(self, problem, redraw, perturb).update()


OUTER.add(
    OuterOptimiser(
        name="asam",
        summary="SAM with a radius in proportion to each pixel (Kwon et al. 2021)",
        cite=("kwon2021asam",),
        config=ASAM,
    )
)
