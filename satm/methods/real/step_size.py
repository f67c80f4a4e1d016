"""Two rules for the step size α of the inner loop.

`FixedStepSize` never changes α. `SoftplusStepSizes` learns one step size for each inner step (Wang et al. 2018). Both
implement the protocol `StepSizeRule` in satm/methods/trajectory/step_size.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from satm.methods.adam import AdamMove
from satm.methods.trajectory.step_size import State


@dataclass(frozen=True, slots=True)
class FixedStepSize:
    """A `StepSizeRule` that never changes α."""

    def init(self, step_size: float, device: torch.device) -> State:
        """The state before the first outer step: α only. See `StepSizeRule`."""
        return {"step_size": torch.tensor(step_size, device=device)}

    def descend(self, state: State, derivative: torch.Tensor, scale: float = 1.0) -> State:
        """Return `state` unchanged; see `StepSizeRule`."""
        return state

    def projected(self, state: State) -> State:
        """Return `state` unchanged; see `StepSizeRule`."""
        return state


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftplusStepSizes:
    """A `StepSizeRule` with one step size α_i for each of the N inner steps:

        α_i = log(1 + e^{a_i}), the softplus of a_i

    The numbers a_i are learned by Adam. Every α_i is kept at `minimum` or above.
    """

    steps: int  # N, the number of inner steps
    adam: AdamMove  # the optimiser of the a_i
    minimum: float  # the smallest allowed α_i

    def init(self, step_size: float, device: torch.device) -> State:
        """The state before the first outer step, in which all α_i are equal to `step_size`; see `StepSizeRule`."""
        raw = _inverse(torch.full((self.steps,), step_size, device=device))
        return {"step_size": F.softplus(raw), "step_size_raw": raw, "step_size_velocity": self.adam.at_rest(raw)}

    def descend(self, state: State, derivative: torch.Tensor, scale: float = 1.0) -> State:
        """The state after the a_i have moved along ∂F/∂a_i = sigmoid(a_i) ∂F/∂α_i; see `StepSizeRule`."""
        gradient = derivative * state["step_size_raw"].sigmoid()
        raw, velocity = self.adam(state["step_size_raw"], state["step_size_velocity"], gradient, scale)
        return {"step_size": F.softplus(raw), "step_size_raw": raw, "step_size_velocity": velocity}

    def projected(self, state: State) -> State:
        """The state with every α_i raised to at least `minimum`; see `StepSizeRule`."""
        if float(state["step_size"].min()) >= self.minimum:
            return state
        least = torch.full_like(state["step_size"], self.minimum)
        return {
            **state,
            "step_size": state["step_size"].maximum(least),
            "step_size_raw": state["step_size_raw"].maximum(_inverse(least)),
        }


def _inverse(alpha: torch.Tensor) -> torch.Tensor:
    """The inverse of the softplus: the a with log(1 + e^a) = `alpha`."""
    return alpha.expm1().log()
