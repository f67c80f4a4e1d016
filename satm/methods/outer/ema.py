"""An exponential moving average of the images beside plain descent (FTD; Du et al. 2023, §3.3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch

from satm.engine import InnerLoop
from satm.errors import ConfigError
from satm.methods.outer.check import fraction
from satm.methods.outer.problem import OUTER, OuterOptimiser, OuterProblem, OuterUpdate, Rule, State
from satm.methods.outer.sgd import descend
from satm.types import Images


@dataclass(frozen=True, slots=True, kw_only=True)
class EMA(Rule):
    """v ← d v + (1 − d) φ after every step, from v = φ_0; φ itself descends ∇F(φ) and never sees v.

    v is the set that is handed out, φ is stored beside it (`…-raw`). α and labels are not averaged: FTD averages the
    images alone. d = 0 makes the two sets one.
    """

    rule: Literal["ema"] = "ema"
    decay: float | None = None  # d; null: 1 − 5 / outer steps, FTD's 0.9995 of 10,000 (its scripts for CIFAR)

    def __post_init__(self) -> None:
        if self.decay is not None:
            fraction("decay", self.decay, one=False)

    def over(self, steps: int) -> EMA:
        """See `OuterRule`: d in numbers."""
        return self if self.decay is not None else replace(self, decay=max(0.0, 1 - 5 / max(steps, 1)))

    def __call__(
        self, problem: OuterProblem, generator: torch.Generator, redraw: Callable[[], InnerLoop], state: State
    ) -> OuterUpdate:
        """See `OuterRule`."""
        return descend(problem, state)

    def init(self, images: Images) -> State:
        """v = φ_0."""
        return {"shadow": images.clone()}

    def moved(self, state: State, images: Images) -> State:
        """v ← d v + (1 − d) φ."""
        if self.decay is None:
            raise ConfigError("decay null: how many outer steps there are decides; ask for it with over(steps)")
        return {"shadow": self.decay * state["shadow"] + (1 - self.decay) * images}

    def averaged(self, state: State) -> Images | None:
        """v."""
        return state["shadow"]


OUTER.add(
    OuterOptimiser(
        name="ema",
        summary="plain descent, with a moving average of the images as the result (FTD; Du et al. 2023)",
        config=EMA,
    )
)
