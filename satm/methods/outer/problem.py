"""The question that an outer rule answers: F at one expert segment (`OuterProblem`), and its answer (`OuterUpdate`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import torch

from satm.engine import (
    Hypergradient,
    HypergradientPolicy,
    InnerLoop,
    Moments,
    OuterVariables,
    Truncation,
    exact_step_size_derivative,
)
from satm.parametrisation import PIXELS, Parametrisation
from satm.types import FlatParams, Images, Labels

StepSizeDerivative: TypeAlias = Literal["first_order", "taped", "exact"]
State: TypeAlias = Mapping[str, torch.Tensor]
"""The tensors that a rule remembers from one outer step to the next, by name."""


@dataclass(frozen=True, kw_only=True)
class OuterProblem:
    """F(φ) = L(θ_N(φ)) for one expert segment, with every random draw fixed.

    θ_N is the end of the inner loop from θ_0 = `theta_start`, and L is `loss`. The inner loop runs on the images that
    networks see, decode(φ) (`parametrisation`), with the label of the stored image that each of them comes from.
    Because the draws are fixed, F is a plain function: a rule may ask for its derivatives at as many φ as it needs. φ,
    noise and perturbations are all of stored images.
    """

    loop: InnerLoop  # N steps, their mini-batches and augmentations of the images that networks see
    at: OuterVariables  # φ, labels and α before this outer step
    theta_start: FlatParams  # θ_0 [P]: the expert's parameters at the start of the segment
    loss: Callable[[FlatParams], torch.Tensor]  # L: from θ_N [P] to a 0-dimensional tensor
    policy: HypergradientPolicy  # how the inner loop is differentiated
    truncation: Truncation  # which inner steps are differentiated
    parametrisation: Parametrisation = PIXELS  # from φ to the images that networks see
    progress: float = 1.0  # the share of the outer steps that are done, 0 … 1, for rules with a schedule
    derivative: StepSizeDerivative = "first_order"  # which derivative of α; see `step_size_derivative`

    @property
    def iota(self) -> int:
        """ι: the first differentiated inner step."""
        return self.truncation.first_taped(self.loop.steps)

    def seen(self, images: Images) -> OuterVariables:
        """The images that networks see at φ = `images`, their labels, and α."""
        decoded = self.parametrisation.decode(images.detach())
        return OuterVariables(decoded, self.parametrisation.spread(self.at.labels), self.at.step_size)

    def hypergradient(
        self,
        images: Images,
        *,
        first: int = 0,
        theta: FlatParams | None = None,
        moments: Moments | None = None,
        keep: int | None = None,
    ) -> Hypergradient:
        """F and its derivatives at φ = `images` [n, C, H, W] (paper Eq. 8).

        A second pass runs steps `first` … N − 1 only, from θ_first = `theta` [P] (paper Eq. 9) and the `moments` of the
        loop's update rule there. With `keep`, the result holds a copy of both at step `keep`, from which such a pass
        can start.
        """
        found = self.policy(
            self.loop,
            self.seen(images),
            self.theta_start if theta is None else theta,
            self.loss,
            self.truncation,
            first=first,
            keep=keep,
            moments=moments,
        )
        if self.parametrisation == PIXELS:
            return found
        labels = found.labels
        return replace(
            found,
            images=self.parametrisation.pulled_back(images, found.images),
            labels=None if labels is None else self.parametrisation.by_stored(labels).sum(dim=1),
        )

    def step_size_derivative(self, images: Images, found: Hypergradient) -> torch.Tensor:
        """∂F/∂α at φ = `images`, shaped like α. `found` is the hypergradient there, over the whole inner loop.

        `first_order`: the closed form of the paper's Eq. 10, which holds every inner gradient constant. It is free.
        `taped`: through the differentiated steps only. It is free too.
        `exact`: through all steps. It is free if the window is the whole inner loop. Otherwise it costs one
        Hessian-vector product for each inner step.
        """
        if self.derivative == "first_order":
            assert found.step_size is not None  # a configuration refuses it for step sizes of each step
            return found.step_size
        if self.derivative == "taped" or (self.iota == 0 and self.policy.exact):
            return found.step_size_taped
        return exact_step_size_derivative(
            self.loop, self.seen(images), self.theta_start, self.loss, step=self.policy.step
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OuterUpdate:
    """The answer of an outer rule: the directions that φ, the labels and α descend.

    The condensation applies them with momentum, learning rates and limits. No rule does that itself.
    """

    images: torch.Tensor  # the direction that φ descends, [n, C, H, W]
    labels: Labels | None = None  # ∂F/∂labels [n, K]; None for hard labels
    step_size: torch.Tensor  # the derivative that α descends, 0-dimensional
    perturbation: torch.Tensor | None = None  # ε [n, C, H, W], to measure sharpness L(φ + ε) − L(φ); None: no ascent
    measured: Mapping[str, float]  # stored as metrics of this outer step; `loss` is required
    state: State = field(default_factory=dict)  # the rule's state for its next call
