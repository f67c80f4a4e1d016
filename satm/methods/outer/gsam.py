"""Surrogate gap guided sharpness-aware minimisation (GSAM; Zhuang et al. 2022, Algorithm 1)."""

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
class GSAM(TwoPasses):
    """SAM's ε; φ descends ∇F(φ + ε) − a ∇F(φ)_⊥, where ⊥ is the part at right angles to ∇F(φ + ε).

    The second term lowers the surrogate gap h = F(φ + ε) − F(φ) without raising F(φ + ε) to first order. GSAM lets ρ
    follow the learning rate's schedule; φ's is constant here, and so is ρ.
    """

    rule: Literal["gsam"] = "gsam"
    rho: float = 0.01  # ρ: ‖ε‖₂ over the whole set; ours, as SATM's
    gap_weight: float = 0.4  # a, GSAM's α; FTD's default for its experts

    def __post_init__(self) -> None:
        not_negative(rho=self.rho, gap_weight=self.gap_weight)

    def __call__(
        self, problem: OuterProblem, generator: torch.Generator, redraw: Callable[[], InnerLoop], state: State
    ) -> OuterUpdate:
        """See `OuterRule`."""
        both = ascend(self, problem, redraw, partial(along, rho=self.rho))
        vertical = at_right_angles(both.first.images, to=both.second.images)
        return both.update(
            both.second.images - self.gap_weight * vertical,
            surrogate_gap=float(both.second.loss - both.first.loss),
        )


def at_right_angles(vector: torch.Tensor, *, to: torch.Tensor) -> torch.Tensor:
    """`vector` less its projection on `to`; `vector` itself where `to` is nought."""
    square = (to * to).sum()
    return vector - ((vector * to).sum() / square) * to if square > 0 else vector


OUTER.add(
    OuterOptimiser(name="gsam", summary="SAM that also lowers the surrogate gap (Zhuang et al. 2022)", config=GSAM)
)
