"""What an outer rule is asked and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self, TypeAlias

import torch

from satm.engine import (
    Hypergradient,
    HypergradientPolicy,
    InnerLoop,
    OuterVariables,
    Truncation,
    exact_step_size_derivative,
)
from satm.errors import ConfigError
from satm.names import Names
from satm.types import FlatParams, Images, Labels

StepSizeDerivative: TypeAlias = Literal["first_order", "taped", "exact"]
State: TypeAlias = Mapping[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class OuterProblem:
    """F(φ) = L(θ_N(φ)): one segment, its inner loop with all draws fixed, and how it is differentiated."""

    loop: InnerLoop
    at: OuterVariables
    theta_start: FlatParams
    loss: Callable[[FlatParams], torch.Tensor]
    policy: HypergradientPolicy
    truncation: Truncation
    derivative: StepSizeDerivative = "first_order"  # of α, see `step_size_derivative`

    @property
    def iota(self) -> int:
        """ι: the first differentiated step."""
        return self.truncation.first_taped(self.loop.steps)

    def hypergradient(
        self, images: Images, *, first: int = 0, theta: FlatParams | None = None, keep: int | None = None
    ) -> Hypergradient:
        """F's derivatives at `images`; from step `first` on, starting at `theta`, when asked (Eq. 9)."""
        return self.policy(
            self.loop,
            self.at._replace(images=images),
            self.theta_start if theta is None else theta,
            self.loss,
            self.truncation,
            first=first,
            keep=keep,
        )

    def step_size_derivative(self, images: Images, found: Hypergradient) -> torch.Tensor:
        """∂F/∂α at `images`, given their hypergradient over the whole loop.

        `first_order`: the paper's Eq. 10. `taped`: through the differentiated steps. `exact`: through all of them: the
        tape's where nothing is truncated, else at the cost of a Hessian-vector product a step.
        """
        if self.derivative == "first_order":
            return found.step_size
        if self.derivative == "taped" or (self.iota == 0 and self.policy.exact):
            return found.step_size_taped
        at = self.at._replace(images=images)
        return exact_step_size_derivative(self.loop, at, self.theta_start, self.loss, step=self.policy.step)


@dataclass(frozen=True, slots=True, kw_only=True)
class OuterUpdate:
    """What a rule decided."""

    images: torch.Tensor  # the direction φ descends, [n, C, H, W]
    labels: Labels | None = None  # ∂F/∂labels [n, K] beside it; None for hard labels
    step_size: torch.Tensor  # α's derivative, 0-dimensional
    perturbation: torch.Tensor | None = None  # ε [n, C, H, W], for the sharpness L(φ + ε) − L(φ); None: no ascent
    measured: Mapping[str, float]
    state: State = field(default_factory=dict)  # the rule's own, for its next call


class OuterRule(Protocol):
    """One way to turn hypergradients into a direction. All but `__call__` have a default in `Rule`."""

    def __call__(
        self,
        problem: OuterProblem,
        generator: torch.Generator,
        redraw: Callable[[], InnerLoop],
        state: State,
    ) -> OuterUpdate:
        """The direction at `problem`; `redraw` gives the same loop with fresh mini-batches and augmentations."""

    def init(self, images: Images) -> State:
        """The state before the first step, for a set that starts at `images`."""

    def moved(self, state: State, images: Images) -> State:
        """The state after φ has moved to `images`."""

    def averaged(self, state: State) -> Images | None:
        """The images to hand out in the place of φ; None: φ itself."""

    def over(self, steps: int) -> OuterRule:
        """This rule for a condensation of that many outer steps, with nothing left open."""

    def second_start(self, iota: int) -> int | None:
        """Where a second pass starts; None where there is one pass alone."""

    def check(self, inner_steps: int, iota: int) -> None:
        """Raise ConfigError where the rule does not fit an inner loop."""


class Rule:
    """The defaults of an `OuterRule`: no state, one pass, nothing to check."""

    __slots__ = ()

    def init(self, images: Images) -> State:
        """See `OuterRule`."""
        return {}

    def moved(self, state: State, images: Images) -> State:
        """See `OuterRule`."""
        return state

    def averaged(self, state: State) -> Images | None:
        """See `OuterRule`."""
        return None

    def over(self, steps: int) -> Self:
        """See `OuterRule`."""
        return self

    def second_start(self, iota: int) -> int | None:
        """See `OuterRule`."""
        return None

    def check(self, inner_steps: int, iota: int) -> None:
        """See `OuterRule`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoPasses(Rule):
    """What rules that ascend to φ + ε share: trajectory reuse (paper Eq. 9) and the draws of the second pass."""

    tau: int | None = None  # τ ≥ ι, where the second pass starts; null: ι
    redraw: bool = False  # fresh mini-batches and augmentations for the second pass

    def second_start(self, iota: int) -> int | None:
        """τ."""
        return iota if self.tau is None else self.tau

    def check(self, inner_steps: int, iota: int) -> None:
        """Raise ConfigError unless ι ≤ τ < N."""
        if self.tau is not None and not iota <= self.tau < inner_steps:
            raise ConfigError(
                f"tau {self.tau}: with {inner_steps} inner steps and a window of {inner_steps - iota}, "
                f"expected {iota} ≤ tau ≤ {inner_steps - 1}"
            )


@dataclass(frozen=True, kw_only=True)
class OuterOptimiser:
    """An entry of `OUTER`."""

    name: str  # what the configuration's field `rule` holds
    summary: str  # one line, with the paper
    config: Callable[..., Any]  # the rule's class, a frozen dataclass; called without arguments it has its defaults


OUTER: Names[OuterOptimiser] = Names(
    "outer optimiser", package="satm.methods.outer", group="satm.outer", expects=OuterOptimiser
)
