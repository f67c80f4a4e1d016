"""Sharpness-aware minimisation (SAM; Foret et al. 2021, Eq. 2 and 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from satm.methods.outer.ascent import TwoPasses, ascend
from satm.methods.outer.problem import OuterProblem, OuterUpdate, State
from satm.methods.outer.rule import OUTER, OuterOptimiser, Redraw


@dataclass(frozen=True, slots=True, kw_only=True)
class SAM(TwoPasses):
    """The images φ descend the hypergradient that is computed at another point, φ + ε:

        ε = ρ ∇F(φ)/‖∇F(φ)‖₂, with ρ = r‖φ‖₂ (see `TwoPasses`)
        φ descends ∇F(φ + ε)

    Of all points within the distance ρ of φ, φ + ε is the one with the largest F, to first order. ε and φ are
    [n, C, H, W], and norms are over the whole set. The rule costs one more pass than `SGD`, and leads to
    flatter minima. The rule `SATM` is this rule with smoothing noise in the first pass.
    """

    rule: Literal["sam"] = "sam"

    def __call__(self, problem: OuterProblem, generator: torch.Generator, redraw: Redraw, state: State) -> OuterUpdate:
        """Return the update of one outer step; see `OuterRule`."""
        return ascend(self, problem, redraw).update()


OUTER.add(
    OuterOptimiser(
        name="sam",
        summary="descend from the worst point nearby (Foret et al. 2021)",
        cite=("foret2020sam",),
        config=SAM,
    )
)
