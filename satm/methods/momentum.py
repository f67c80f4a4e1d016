"""The optimisers of the outer updates, as pure functions: φ, the labels and the step size α use them."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class MomentumSGD:
    """SGD with momentum, for one tensor x with gradient g:

        v ← μ v + g
        x ← x − s · lr · v

    x, v and g have one shape. v starts at zero. The scale s is 1, or less if a failed outer step is tried again with a
    smaller move (`satm.methods.trajectory.guard`). This is `torch.optim.SGD` without dampening. It is written as a pure
    function, so that an outer step can be rejected after its moves are computed.
    """

    lr: float
    momentum: float  # μ, 0 ≤ μ < 1

    def __call__(
        self, value: torch.Tensor, velocity: torch.Tensor, gradient: torch.Tensor, scale: float = 1.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The new x and the new v, given x = `value`, v = `velocity` and g = `gradient`."""
        velocity = self.velocity(velocity, gradient)
        return value - self.move(velocity, scale), velocity

    def velocity(self, velocity: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """The new v: μ v + g."""
        return self.momentum * velocity + gradient

    def move(self, velocity: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        """s · lr · v: the amount to subtract from x."""
        return scale * self.lr * velocity
