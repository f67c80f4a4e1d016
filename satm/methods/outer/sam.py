"""Sharpness-aware minimisation (SAM; Foret et al. 2021, Eq. 2 and 3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch

from satm.engine import InnerLoop
from satm.methods.outer.ascent import along, ascend
from satm.methods.outer.check import not_negative
from satm.methods.outer.problem import OUTER, OuterOptimiser, OuterProblem, OuterUpdate, State, TwoPasses


@dataclass(frozen=True, slots=True, kw_only=True)
class SAM(TwoPasses):
    """ε = ρ ∇F(φ)/‖∇F(φ)‖₂; φ descends ∇F(φ + ε)."""

    rule: Literal["sam"] = "sam"
    rho: float = 0.01  # ρ: ‖ε‖₂ over the whole set; ours, as SATM's

    def __post_init__(self) -> None:
        not_negative(rho=self.rho)

    def __call__(
        self, problem: OuterProblem, generator: torch.Generator, redraw: Callable[[], InnerLoop], state: State
    ) -> OuterUpdate:
        """See `OuterRule`."""
        return ascend(self, problem, redraw, partial(along, rho=self.rho)).update()


OUTER.add(OuterOptimiser(name="sam", summary="descend from the worst point nearby (Foret et al. 2021)", config=SAM))
