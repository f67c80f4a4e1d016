"""FTD's outer rule: plain descent, with a moving average of the images as the result (Du et al. 2023, §3.3)."""

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
    """φ descends ∇F(φ), as with `SGD`. The result is an exponential moving average v of φ over the outer steps.

    v starts at the initial images φ_0. It is updated after every outer step that moved φ:

        v ← d v + (1 − d) φ

    φ never depends on v. The condensation stores v as its set, and φ as a second set with the name `METHOD-raw`. If
    d = 0, these two sets are the same. α and the labels are not averaged, because FTD averages only the images. The
    state of the rule holds v [n, C, H, W] under the name `shadow`.
    """

    rule: Literal["ema"] = "ema"
    decay: float | None = None
    """The decay d; null: d is max(0, 1 − spans / number of outer steps)."""
    spans: float = 5.0
    """The number of outer steps of the run, divided by the length of the average, which is 1/(1 − d) outer steps. With
    a fixed number of spans, a shorter run averages over the same share of its steps. The FTD paper prints d for 5,000
    outer steps: 0.9999, 0.9995 and 0.999, which are 0.5, 2.5 and 5 spans. The default of FTD's code is 0.999."""

    def __post_init__(self) -> None:
        not_negative(spans=self.spans)
        if self.decay is not None:
            fraction("decay", self.decay, one=False)

    def over(self, steps: int) -> EMA:
        """The same rule with a number for `decay`: max(0, 1 − spans/steps) if it is null. See `OuterRule`."""
        return self if self.decay is not None else replace(self, decay=max(0.0, 1 - self.spans / max(steps, 1)))

    def __call__(self, problem: OuterProblem, generator: torch.Generator, redraw: Redraw, state: State) -> OuterUpdate:
        """Return the update of one outer step; see `OuterRule`."""
        return descend(problem, state)

    def init(self, images: Images) -> State:
        """The state before the first outer step, v = φ_0; see `OuterRule`."""
        return {"shadow": images.clone()}

    def moved(self, state: State, images: Images) -> State:
        """The state after φ has moved to `images`: v ← d v + (1 − d) φ. See `OuterRule`."""
        if self.decay is None:
            raise ConfigError("decay null: it depends on the number of outer steps; call over(steps) first")
        return {"shadow": self.decay * state["shadow"] + (1 - self.decay) * images}

    def averaged(self, state: State) -> Images | None:
        """The average v, which is the result of the condensation; see `OuterRule`."""
        return state["shadow"]


OUTER.add(
    OuterOptimiser(
        name="ema",
        summary="plain descent, with a moving average of the images as the result (FTD; Du et al. 2023)",
        cite=("du2023ftd",),
        config=EMA,
    )
)
