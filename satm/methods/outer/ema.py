"""FTD's outer rule: plain descent whose result is a moving average of the images (Du et al. 2023, §3.3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch

from satm.errors import ConfigError
from satm.methods.outer.check import fraction, not_negative
from satm.methods.outer.problem import OuterProblem, OuterUpdate, State
from satm.methods.outer.rule import OUTER, OuterOptimiser, Redraw, Rule
from satm.methods.outer.sgd import descend
from satm.types import Images


@dataclass(frozen=True, slots=True, kw_only=True)
class EMA(Rule):
    """φ descends ∇F(φ), as with `SGD`. The result is an average v of φ over the outer steps.

    v starts at φ_0, and after every applied outer step:

        v ← d v + (1 − d) φ

    φ never depends on v. The stored set is v; φ is stored too, as `METHOD-raw`. α and the labels are not averaged: FTD
    averages only the images. If d = 0, the two sets are the same. The state `shadow` holds v [n, C, H, W].
    """

    rule: Literal["ema"] = "ema"
    decay: float | None = None
    """d. null: max(0, 1 − spans / outer steps)."""
    spans: float = 5.0
    """How many times the average's own reach, 1/(1 − d) outer steps, fits into the run. So a shorter run averages over
    the same share of its steps. FTD prints d for 5,000 outer steps: 0.9999, 0.9995 and 0.999 are 0.5, 2.5 and 5 spans.
    Its code's default is 0.999."""

    def __post_init__(self) -> None:
        not_negative(spans=self.spans)
        if self.decay is not None:
            fraction("decay", self.decay, one=False)

    def over(self, steps: int) -> EMA:
        """See `OuterRule`: if `decay` is null, d = max(0, 1 − spans/steps)."""
        return self if self.decay is not None else replace(self, decay=max(0.0, 1 - self.spans / max(steps, 1)))

    def __call__(self, problem: OuterProblem, generator: torch.Generator, redraw: Redraw, state: State) -> OuterUpdate:
        """See `OuterRule`."""
        return descend(problem, state)

    def init(self, images: Images) -> State:
        """See `OuterRule`: v = φ_0."""
        return {"shadow": images.clone()}

    def moved(self, state: State, images: Images) -> State:
        """See `OuterRule`: v ← d v + (1 − d) φ."""
        if self.decay is None:
            raise ConfigError("decay null: it depends on the number of outer steps; call over(steps) first")
        return {"shadow": self.decay * state["shadow"] + (1 - self.decay) * images}

    def averaged(self, state: State) -> Images | None:
        """See `OuterRule`: v."""
        return state["shadow"]


OUTER.add(
    OuterOptimiser(
        name="ema",
        summary="plain descent, with a moving average of the images as the result (FTD; Du et al. 2023)",
        cite=("du2023ftd",),
        config=EMA,
    )
)
