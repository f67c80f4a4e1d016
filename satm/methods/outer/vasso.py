"""Variance-suppressed sharpness-aware optimisation (VaSSO; Li & Giannakis, NeurIPS 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from satm.methods.outer.ascent import TwoPasses, along, ascend
from satm.methods.outer.check import fraction
from satm.methods.outer.problem import OuterProblem, OuterUpdate, State
from satm.methods.outer.rule import OUTER, OuterOptimiser, Redraw
from satm.types import Images


@dataclass(frozen=True, slots=True, kw_only=True)
class VaSSO(TwoPasses):
    """SAM that ascends along an average d of the hypergradients of all outer steps so far:

        d ← (1 − θ) d + θ ∇F(φ); at the first outer step d = ∇F(φ)
        ε = ρ d/‖d‖₂, with ρ = r‖φ‖₂ (see `TwoPasses`)
        φ descends ∇F(φ + ε)

    θ is the weight of the newest hypergradient. d, ε and φ are [n, C, H, W]. The hypergradients of single outer steps
    are noisy, because each of them uses another segment. The average reduces this noise in the ascent direction. With
    θ = 1 the rule is SAM. The state of the rule holds d under the name `average`. Before the first outer step these are
    zeros.
    """

    rule: Literal["vasso"] = "vasso"
    weight: float = 0.9  # θ; the default of VaSSO's code (configs/defaulf_cfg.py:61 at 3524bad)

    def __post_init__(self) -> None:
        TwoPasses.__post_init__(self)  # `super()` does not work in a dataclass with slots
        fraction("weight", self.weight, one=True)

    def __call__(self, problem: OuterProblem, generator: torch.Generator, redraw: Redraw, state: State) -> OuterUpdate:
        """Return the update of one outer step; see `OuterRule`."""
        average, length = state["average"], self.length_at(problem)

        def perturb(gradient: torch.Tensor) -> torch.Tensor:
            nonlocal average
            first = not average.any()
            average = gradient if first else (1 - self.weight) * average + self.weight * gradient
            return along(average, length)

        both = ascend(self, problem, redraw, perturb)
        return both.update(state={"average": average})

    def init(self, images: Images) -> State:
        """The state before the first outer step: zeros, so that the first call sets d to its gradient.

        See `OuterRule`.
        """
        return {"average": torch.zeros_like(images)}


OUTER.add(
    OuterOptimiser(
        name="vasso",
        summary="SAM along an average of ascent directions (Li and Giannakis 2023)",
        cite=("li2023vasso",),
        config=VaSSO,
    )
)
