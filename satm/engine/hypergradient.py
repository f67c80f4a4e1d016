"""The interface of a hypergradient policy, and its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from satm.engine.inner import InnerLoop, OuterVariables
from satm.engine.step import Step
from satm.engine.truncation import Truncation
from satm.engine.update import Moments
from satm.types import FlatParams


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypergradient:
    """The outer loss F(φ, α) = L(θ_N) and its derivatives at one point, all detached.

    φ are the images, α is the step size, L is the matching loss and θ_N [P] are the parameters after N inner steps. The
    window is the differentiated steps ι … N − 1.

    `images` and `labels` are the derivatives of F with θ_ι held constant (paper Eq. 8). They are exact derivatives of F
    if every step is differentiated. `step_size` is the paper's closed form over all steps of this pass (Eq. 10).
    `step_size_taped` is the derivative through the window only, which is exact if the window holds every step.
    `TeslaPolicy` drops terms of `images`, `labels` and `step_size_taped`.
    """

    loss: torch.Tensor  # F(φ), 0-dimensional
    images: torch.Tensor  # ∂F/∂φ [n, C, H, W]
    labels: torch.Tensor | None  # ∂F/∂labels [n, K]; None for hard labels
    step_size: torch.Tensor | None  # ∂F/∂α by Eq. 10, 0-dimensional; None if each step has a step size of its own
    step_size_taped: torch.Tensor  # ∂F/∂α through the differentiated steps, shaped like α
    theta: FlatParams  # θ_N [P]
    kept: FlatParams | None  # θ_keep [P]; None without `keep`
    kept_moments: Moments = ()  # those of the update rule at θ_keep


class HypergradientPolicy(Protocol):
    """One way to differentiate an inner loop: `HigherPolicy`, `ReplayPolicy` or `TeslaPolicy`."""

    @property
    def exact(self) -> bool:
        """Whether the result is the exact derivative of F, also with respect to α, if every step is differentiated."""

    @property
    def step(self) -> Step | None:
        """The pure functions of one inner step that the policy uses, for other uses; None if it has none."""

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
        moments: Moments | None = None,
    ) -> Hypergradient:
        """Run steps `first` … N − 1 from θ_first = `theta_start` [P] and differentiate `outer_loss`(θ_N).

        `moments` are those of the loop's update rule at θ_first; None: zero, as at the start of a loop. With `keep`
        (`first` ≤ keep ≤ N) the result holds a copy of θ_keep and of the moments there, from which a second pass may
        start (trajectory reuse, paper Eq. 9). The policy changes no argument. Raises ConfigError if the truncation does
        not fit the loop.
        """
