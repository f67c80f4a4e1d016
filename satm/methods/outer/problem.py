"""The input of an outer rule, `OuterProblem`, and its result, `OuterUpdate`.

An `OuterProblem` is the matching loss F for one segment of an expert. An `OuterUpdate` holds the directions in which
the images φ, the labels and the step size α move.
"""

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
"""The tensors that a rule keeps from one outer step to the next, by name."""


@dataclass(frozen=True, kw_only=True)
class OuterProblem:
    """The outer loss F(φ) = L(θ_N(φ)) for one segment of an expert, with every random draw fixed.

    The inner loop trains N steps from θ_0 = `theta_start`. θ_N are the parameters at its end, and L is `loss`. φ are
    the stored images. The inner loop trains on decode(φ), the images that networks see: `parametrisation` computes them
    from φ. Each image that networks see has the label of the stored image from which it was computed.

    Because the draws are fixed, F is a plain function: a rule can compute its derivatives at as many φ as it needs.
    Noise and perturbations are added to the stored images φ.
    """

    loop: InnerLoop  # the N inner steps, with their mini-batches and augmentations of the images that networks see
    at: OuterVariables  # φ, the labels and α before this outer step
    theta_start: FlatParams  # θ_0 [P], the parameters at the start of the segment
    loss: Callable[[FlatParams], torch.Tensor]  # L, a function of θ_N [P] that returns a 0-dimensional tensor
    policy: HypergradientPolicy  # how the inner loop is differentiated
    truncation: Truncation  # says which inner steps are differentiated
    parametrisation: Parametrisation = PIXELS  # computes the images that networks see from φ
    progress: float = 1.0  # the share of the outer steps that are done, 0 … 1; used by rules with a schedule
    derivative: StepSizeDerivative = "first_order"  # how ∂F/∂α is computed; see `step_size_derivative`

    @property
    def iota(self) -> int:
        """ι: the first differentiated inner step."""
        return self.truncation.first_taped(self.loop.steps)

    def seen(self, images: Images) -> OuterVariables:
        """The inputs of the inner loop at φ = `images`: the images that networks see, their labels, and α."""
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
        """Compute F and its derivatives at φ = `images` [n, C, H, W] (paper Eq. 8).

        By default all N inner steps run. A second pass runs only the steps `first` … N − 1 (paper Eq. 9). It then needs
        the state of the inner loop before step `first`: the parameters `theta` [P], and `moments`, the tensors of the
        loop's update rule, such as Adam's. If `keep` is given, the result holds a copy of the parameters and the
        moments before step `keep`. A second pass can start from this copy.
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
        """∂F/∂α at φ = `images`, with the shape of α.

        `found` is the hypergradient at `images` over the whole inner loop.

        The setting `derivative` selects how it is computed:
        `first_order`: by the closed form of the paper's Eq. 10, in which every inner gradient is a constant. It costs
        nothing, because `found` already holds it.
        `taped`: by differentiation through the steps of the window only. `found` holds it, too.
        `exact`: by differentiation through all steps. If the window is the whole inner loop and the policy is exact,
        `found` holds it. Otherwise it costs one Hessian-vector product for each inner step.
        """
        if self.derivative == "first_order":
            assert found.step_size is not None  # it is None if each step has its own α; configurations forbid that here
            return found.step_size
        if self.derivative == "taped" or (self.iota == 0 and self.policy.exact):
            return found.step_size_taped
        return exact_step_size_derivative(
            self.loop, self.seen(images), self.theta_start, self.loss, step=self.policy.step
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OuterUpdate:
    """The result of an outer rule: the directions that φ, the labels and α descend.

    The rule only computes the directions. The condensation moves φ, the labels and α along them, with its momentum,
    learning rates and limits.
    """

    images: torch.Tensor  # the direction that φ descends, [n, C, H, W]; φ moves against it
    labels: Labels | None = None  # ∂F/∂labels [n, K]; None for hard labels
    step_size: torch.Tensor  # the derivative that α descends, with the shape of α
    perturbation: torch.Tensor | None = None  # ε [n, C, H, W], used to measure the sharpness; None: the rule has no ε
    measured: Mapping[str, float]  # metrics of this outer step, by name; they must include `loss`
    state: State = field(default_factory=dict)  # the rule's state for its next call
