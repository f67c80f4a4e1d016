"""Sharpness-aware minimisation (SAM; Foret et al. 2021, Eq. 2 and 3)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch

from satm.methods.outer.ascent import TwoPasses, along, ascend
from satm.methods.outer.check import not_negative
from satm.methods.outer.problem import OuterProblem, OuterUpdate, State
from satm.methods.outer.rule import OUTER, OuterOptimiser, Redraw


@dataclass(frozen=True, slots=True, kw_only=True)
class SAM(TwoPasses):
    """φ descends the hypergradient at the worst point within radius ρ, to first order:

        ε = ρ ∇F(φ)/‖∇F(φ)‖₂
        φ descends ∇F(φ + ε)

    ε and φ are [n, C, H, W], and the norm is over the whole set. It costs one more pass than SGD and prefers flat
    minima. SATM adds smoothing noise to the first pass.
    """

    rule: Literal["sam"] = "sam"
    rho: float = 0.01  # ρ: the radius ‖ε‖₂ over the whole set; our choice, the same as SATM's

    def __post_init__(self) -> None:
        not_negative(rho=self.rho)

    def __call__(self, problem: OuterProblem, generator: torch.Generator, redraw: Redraw, state: State) -> OuterUpdate:
        """See `OuterRule`."""
        return ascend(self, problem, redraw, partial(along, rho=self.rho)).update()


OUTER.add(OuterOptimiser(name="sam", summary="descend from the worst point nearby (Foret et al. 2021)", config=SAM))
