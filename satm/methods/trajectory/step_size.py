"""How the inner step size α is learned: α itself or its logarithm descends, and α stays at or above α_min."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch

from satm.methods.momentum import MomentumSGD

State = Mapping[str, torch.Tensor]


class StepSizeRule(Protocol):
    """One way to update α. `state` holds α [] under `step_size`, and any other tensors that the rule keeps.

    To learn α in another way, write such a class and return it from `step_size_rule` of the method's configuration.
    The derivative ∂F/∂α that it descends is another setting: `step_size_derivative`, see `OuterProblem`.
    """

    def init(self, step_size: float, device: torch.device) -> State:
        """The state before the first outer step, given α at the start."""

    def descend(self, state: State, derivative: torch.Tensor, scale: float = 1.0) -> State:
        """The state after an outer step with ∂F/∂α = `derivative` [], before `projected`. `scale` multiplies the move.

        The guard compares this α with its limits, so it may be infinite or below α_min.
        """

    def projected(self, state: State) -> State:
        """The state with α ≥ α_min. If this changes α, the condensation stores an event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainStepSize:
    """SGD with momentum on α, then a projection (λ is the learning rate):

        u ← μ u + ∂F/∂α
        α ← max(α − λ u, α_min)

    Paper Eq. 10 with μ = 0, and MTT with its μ = 0.5. The projection is ours.
    """

    sgd: MomentumSGD  # λ and μ
    minimum: float  # α_min

    def init(self, step_size: float, device: torch.device) -> State:
        """See `StepSizeRule`: u = 0."""
        value = torch.tensor(step_size, device=device)
        return {"step_size": value, "step_size_velocity": torch.zeros_like(value)}

    def descend(self, state: State, derivative: torch.Tensor, scale: float = 1.0) -> State:
        """See `StepSizeRule`."""
        value, velocity = self.sgd(state["step_size"], state["step_size_velocity"], derivative, scale)
        return {"step_size": value, "step_size_velocity": velocity}

    def projected(self, state: State) -> State:
        """See `StepSizeRule`."""
        return {**state, "step_size": state["step_size"].clamp(min=self.minimum)}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStepSize(PlainStepSize):
    """SGD with momentum on log α, then the same projection:

        u ← μ u + α ∂F/∂α          (∂F/∂ log α = α ∂F/∂α)
        α ← max(α exp(−λ u), α_min)

    α can never become negative, and λ is relative to α. Use it if α explodes or reaches α_min (`log_step_size`).
    """

    def descend(self, state: State, derivative: torch.Tensor, scale: float = 1.0) -> State:
        """See `StepSizeRule`."""
        velocity = self.sgd.velocity(state["step_size_velocity"], derivative * state["step_size"])
        value = state["step_size"] * (-self.sgd.move(velocity, scale)).exp()
        return {"step_size": value, "step_size_velocity": velocity}
