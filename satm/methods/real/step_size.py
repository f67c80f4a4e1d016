"""Two more rules for α: fixed, and one step size for each inner step, learned through a softplus (Wang et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from satm.methods.adam import AdamMove
from satm.methods.trajectory.step_size import State


@dataclass(frozen=True, slots=True)
class FixedStepSize:
    """α stays as it is."""

    def init(self, step_size: float, device: torch.device) -> State:
        """See `StepSizeRule`."""
        return {"step_size": torch.tensor(step_size, device=device)}

    def descend(self, state: State, derivative: torch.Tensor, scale: float = 1.0) -> State:
        """See `StepSizeRule`."""
        return state

    def projected(self, state: State) -> State:
        """See `StepSizeRule`."""
        return state


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftplusStepSizes:
    """α_i = log(1 + e^{a_i}), one for each of N inner steps. The a_i descend by Adam; every α_i stays ≥ `minimum`."""

    steps: int  # N
    adam: AdamMove
    minimum: float

    def init(self, step_size: float, device: torch.device) -> State:
        """See `StepSizeRule`: all α_i are equal."""
        raw = _inverse(torch.full((self.steps,), step_size, device=device))
        return {"step_size": F.softplus(raw), "step_size_raw": raw, "step_size_velocity": self.adam.at_rest(raw)}

    def descend(self, state: State, derivative: torch.Tensor, scale: float = 1.0) -> State:
        """See `StepSizeRule`: ∂F/∂a_i = sigmoid(a_i) ∂F/∂α_i."""
        gradient = derivative * state["step_size_raw"].sigmoid()
        raw, velocity = self.adam(state["step_size_raw"], state["step_size_velocity"], gradient, scale)
        return {"step_size": F.softplus(raw), "step_size_raw": raw, "step_size_velocity": velocity}

    def projected(self, state: State) -> State:
        """See `StepSizeRule`."""
        if float(state["step_size"].min()) >= self.minimum:
            return state
        least = torch.full_like(state["step_size"], self.minimum)
        return {
            **state,
            "step_size": state["step_size"].maximum(least),
            "step_size_raw": state["step_size_raw"].maximum(_inverse(least)),
        }


def _inverse(alpha: torch.Tensor) -> torch.Tensor:
    """a with softplus(a) = `alpha`."""
    return alpha.expm1().log()
