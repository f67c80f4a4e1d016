"""Variance-suppressed sharpness-aware optimisation (VaSSO; Li & Giannakis, NeurIPS 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from satm.methods.outer.ascent import TwoPasses, along, ascend
from satm.methods.outer.check import fraction, not_negative
from satm.methods.outer.problem import OuterProblem, OuterUpdate, State
from satm.methods.outer.rule import OUTER, OuterOptimiser, Redraw
from satm.types import Images


@dataclass(frozen=True, slots=True, kw_only=True)
class VaSSO(TwoPasses):
    """SAM that ascends along an average d of the hypergradients of all outer steps so far:

        d ← (1 − w) d + w ∇F(φ), from d = 0
        ε = ρ d/‖d‖₂
        φ descends ∇F(φ + ε)

    d, ε and φ are [n, C, H, W]. The average removes the noise of single segments from the ascent direction. w = 1 is
    SAM. The state `average` holds d.
    """

    rule: Literal["vasso"] = "vasso"
    rho: float = 0.01  # ρ: the radius ‖ε‖₂ over the whole set; our choice, the same as SATM's
    weight: float = 0.4  # w, called θ in VaSSO

    def __post_init__(self) -> None:
        not_negative(rho=self.rho)
        fraction("weight", self.weight, one=True)

    def __call__(self, problem: OuterProblem, generator: torch.Generator, redraw: Redraw, state: State) -> OuterUpdate:
        """See `OuterRule`."""
        average = state["average"]

        def perturb(gradient: torch.Tensor) -> torch.Tensor:
            nonlocal average
            average = (1 - self.weight) * average + self.weight * gradient
            return along(average, self.rho)

        both = ascend(self, problem, redraw, perturb)
        return both.update(state={"average": average})

    def init(self, images: Images) -> State:
        """See `OuterRule`: d = 0."""
        return {"average": torch.zeros_like(images)}


OUTER.add(
    OuterOptimiser(
        name="vasso", summary="SAM along an average of ascent directions (Li and Giannakis 2023)", config=VaSSO
    )
)
