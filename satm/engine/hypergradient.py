"""What a hypergradient policy is asked for and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from satm.engine.inner import InnerLoop, OuterVariables
from satm.engine.step import Step
from satm.engine.truncation import Truncation
from satm.types import FlatParams


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypergradient:
    """F and its derivatives at one point, all detached.

    `images` and `labels` are exact derivatives of F with the steps before the tape held constant (paper Eq. 8; of F
    itself when nothing is truncated). `step_size` is the paper's closed form over all steps of this pass (Eq. 10);
    `step_size_taped` is what the tape gives, exact when nothing is truncated. TESLA's policy drops terms of all three.
    """

    loss: torch.Tensor  # F(φ), 0-dimensional
    images: torch.Tensor  # ∂F/∂φ [n, C, H, W]
    labels: torch.Tensor | None  # ∂F/∂labels [n, K]; None for hard labels
    step_size: torch.Tensor  # ∂F/∂α by Eq. 10, 0-dimensional
    step_size_taped: torch.Tensor  # ∂F/∂α through the taped steps, 0-dimensional
    theta: FlatParams  # θ_N [P]
    kept: FlatParams | None  # θ_keep [P]


class HypergradientPolicy(Protocol):
    """One way to differentiate an inner loop."""

    @property
    def exact(self) -> bool:
        """Whether what it gives over a full window is the derivative of F, α's included."""

    @property
    def step(self) -> Step | None:
        """The pure functions it is built of, for others to use; None where it has none."""

    def __call__(
        self,
        loop: InnerLoop,
        at: OuterVariables,
        theta_start: FlatParams,
        outer_loss: Callable[[FlatParams], torch.Tensor],
        truncation: Truncation,
        *,
        first: int = 0,
        keep: int | None = None,
    ) -> Hypergradient:
        """Run steps `first` … N − 1 from θ_first = `theta_start` [P] and differentiate `outer_loss`(θ_N).

        `keep` asks for a copy of θ_keep, `first` ≤ keep ≤ N: where a second pass may start (trajectory reuse, Eq. 9).
        No argument is changed. Raises ConfigError when the truncation does not fit the loop.
        """
