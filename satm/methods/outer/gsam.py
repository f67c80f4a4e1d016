"""Surrogate gap guided sharpness-aware minimisation (GSAM; Zhuang et al. 2022, Algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from satm.methods.outer.ascent import TwoPasses, ascend
from satm.methods.outer.check import not_negative
from satm.methods.outer.problem import OuterProblem, OuterUpdate, State
from satm.methods.outer.rule import OUTER, OuterOptimiser, Redraw


@dataclass(frozen=True, slots=True, kw_only=True)
class GSAM(TwoPasses):
    """SAM that also lowers the surrogate gap h = F(φ + ε) − F(φ):

        ε = ρ ∇F(φ)/‖∇F(φ)‖₂, with ρ = r‖φ‖₂ (see `TwoPasses`)
        φ descends ∇F(φ + ε) − a ∇F(φ)_⊥

    ∇F(φ)_⊥ is the part of ∇F(φ) at right angles to ∇F(φ + ε). The term with the weight a lowers h and leaves F(φ + ε)
    unchanged to first order. With a = 0 the rule is SAM. In the GSAM paper ρ follows the schedule of the learning rate.
    Here the learning rate of φ is constant, so ρ is constant, too, unless `ramp` is set.
    """

    rule: Literal["gsam"] = "gsam"
    gap_weight: float = 0.4  # a, called α in the GSAM paper; the value is FTD's default for its experts

    def __post_init__(self) -> None:
        TwoPasses.__post_init__(self)  # `super()` does not work in a dataclass with slots
        not_negative(gap_weight=self.gap_weight)

    def __call__(self, problem: OuterProblem, generator: torch.Generator, redraw: Redraw, state: State) -> OuterUpdate:
        """Return the update of one outer step; see `OuterRule`."""
        both = ascend(self, problem, redraw)
        vertical = at_right_angles(both.first.images, to=both.second.images)
        return both.update(
            both.second.images - self.gap_weight * vertical,
            surrogate_gap=float(both.second.loss - both.first.loss),
        )


def at_right_angles(vector: torch.Tensor, *, to: torch.Tensor) -> torch.Tensor:
    """Return `vector` minus its projection on `to`, or `vector` itself if `to` is zero."""
    square = (to * to).sum()
    return vector - ((vector * to).sum() / square) * to if square > 0 else vector


OUTER.add(
    OuterOptimiser(
        name="gsam",
        summary="SAM that also lowers the surrogate gap (Zhuang et al. 2022)",
        cite=("zhuang2022gsam",),
        config=GSAM,
    )
)
