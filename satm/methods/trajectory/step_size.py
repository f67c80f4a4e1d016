"""Rules that learn the step size α of the inner loop, either α itself or its logarithm. α stays at or above α_min."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch

from satm.methods.momentum import MomentumSGD

State = Mapping[str, torch.Tensor]


class StepSizeRule(Protocol):
    """One way to update the step size α after an outer step.

    The object itself never changes. Its methods take and return `state`, a dictionary of tensors. `state` holds α under
    the name `step_size`, and other tensors if the rule needs them. α is 0-dimensional, or [N] if each of the N inner
    steps has its own step size.

    To learn α in another way, write a class with these methods, and return an object of it from the function
    `step_size_rule` of a method's configuration. How ∂F/∂α is computed is not part of the rule: the setting
    `step_size_derivative` decides it (see `OuterProblem` in satm/methods/outer/problem.py).
    """

    def init(self, step_size: float, device: torch.device) -> State:
        """The state before the first outer step, with α = `step_size`."""

    def descend(self, state: State, derivative: torch.Tensor, scale: float = 1.0) -> State:
        """The state after α has moved against ∂F/∂α = `derivative`, of the shape of α. `scale` multiplies the move.

        In this state α may be infinite or below α_min. The guard checks this α against its limits. If the guard accepts
        it, `projected` then raises α to α_min if α is below.
        """

    def projected(self, state: State) -> State:
        """The state with α raised to α_min if α is below. If this changes α, the condensation stores an event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainStepSize:
    """A `StepSizeRule` that updates α by SGD with momentum, and then projects it to α ≥ α_min:

        u ← μ u + ∂F/∂α
        α ← max(α − λ u, α_min)

    u is the velocity, μ the momentum and λ the learning rate. With μ = 0 this is Eq. 10 of the paper. MTT has μ = 0.5.
    The projection is an addition of this suite.
    """

    sgd: MomentumSGD  # the optimiser of α, with the learning rate λ and the momentum μ
    minimum: float  # α_min, the smallest allowed α

    def init(self, step_size: float, device: torch.device) -> State:
        """The state before the first outer step, with u = 0; see `StepSizeRule`."""
        value = torch.tensor(step_size, device=device)
        return {"step_size": value, "step_size_velocity": torch.zeros_like(value)}

    def descend(self, state: State, derivative: torch.Tensor, scale: float = 1.0) -> State:
        """The state after one step of SGD with momentum on α; see `StepSizeRule`."""
        value, velocity = self.sgd(state["step_size"], state["step_size_velocity"], derivative, scale)
        return {"step_size": value, "step_size_velocity": velocity}

    def projected(self, state: State) -> State:
        """The state with α raised to α_min if it is below; see `StepSizeRule`."""
        return {**state, "step_size": state["step_size"].clamp(min=self.minimum)}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStepSize(PlainStepSize):
    """A `StepSizeRule` that updates log α by SGD with momentum, and then projects α to α ≥ α_min:

        u ← μ u + α ∂F/∂α          (∂F/∂ log α = α ∂F/∂α)
        α ← max(α exp(−λ u), α_min)

    α can never become negative, and λ u is a relative change of α. The setting `log_step_size` selects this rule. Use
    it if α grows without limit or falls to α_min.
    """

    def descend(self, state: State, derivative: torch.Tensor, scale: float = 1.0) -> State:
        """The state after one step of SGD with momentum on log α; see `StepSizeRule`."""
        velocity = self.sgd.velocity(state["step_size_velocity"], derivative * state["step_size"])
        value = state["step_size"] * (-self.sgd.move(velocity, scale)).exp()
        return {"step_size": value, "step_size_velocity": velocity}
