"""`HypergradientPolicy`, the interface of all ways to differentiate an inner loop, and `Hypergradient`, its result."""

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
    """The outer loss F(φ, α) = L(θ_N) and its derivatives at one point. All tensors are detached from autograd.

    φ are the images, α is the step size, L is the matching loss, and θ_N [P] are the parameters after N inner steps.
    The window is the differentiated steps ι … N − 1.

    `images` and `labels` are the derivatives of F if θ_ι is held constant (paper Eq. 8). They are the exact derivatives
    of F if every step is differentiated. `step_size` is the approximation that the paper uses: a closed form over all
    steps of this pass (Eq. 10). `step_size_taped` is the derivative through the steps of the window only, which is
    exact if the window holds every step. `TeslaPolicy` leaves out terms of `images`, `labels` and `step_size_taped`.
    """

    loss: torch.Tensor  # F(φ), 0-dimensional
    images: torch.Tensor  # ∂F/∂φ [n, C, H, W]
    labels: torch.Tensor | None  # ∂F/∂labels [n, K]; None for hard labels
    step_size: torch.Tensor | None  # ∂F/∂α by Eq. 10, 0-dimensional; None if each step has a step size of its own
    step_size_taped: torch.Tensor  # ∂F/∂α through the differentiated steps, with the shape of α
    theta: FlatParams  # θ_N [P]
    kept: FlatParams | None  # θ [P] before step `keep`; None if the policy was called without `keep`
    kept_moments: Moments = ()  # the moments of the update rule before step `keep`, such as momentum


class HypergradientPolicy(Protocol):
    """One way to differentiate an inner loop: `HigherPolicy`, `ReplayPolicy` or `TeslaPolicy`."""

    @property
    def exact(self) -> bool:
        """Whether `images`, `labels` and `step_size_taped` of the result are exact if every step is differentiated.

        `step_size` of the result is always the approximation of Eq. 10.
        """

    @property
    def step(self) -> Step | None:
        """The pure functions of one inner step that the policy uses; None if the policy uses autograd's tape instead.

        Other code may use these functions too, for example `exact_step_size_derivative`.
        """

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
        """Run the inner steps `first` … N − 1 of `loop` and differentiate `outer_loss`(θ_N).

        Args:
            loop: the inner loop of N steps.
            at: the images, labels and step size at which F is differentiated.
            theta_start: the parameters [P] before step `first`.
            outer_loss: the function L, from θ_N [P] to a 0-dimensional tensor.
            truncation: says which steps are differentiated.
            first: the first step to run.
            keep: a step, `first` ≤ keep ≤ N. The result then holds a copy of θ and of the moments before this step, and
                a second pass can start there (trajectory reuse, paper Eq. 9).
            moments: the moments of the loop's update rule before step `first`; None means zero.

        No argument is changed. Raises ConfigError if the truncation does not fit the loop, or if the policy cannot
        differentiate this loop.
        """
