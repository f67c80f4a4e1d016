"""SGD with momentum as a pure function. It updates the images φ, the labels and the step size α after an outer step."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class MomentumSGD:
    """SGD with momentum, for one tensor x with gradient g:

        v ← μ v + g
        x ← x − s · lr · v

    v is the velocity and μ the momentum. x, v and g have the same shape, and v starts at zero. The scale s is 1, or
    less if a failed outer step is tried again with a smaller move (`satm.methods.trajectory.guard`) or if the run
    lowers its learning rates. The equations are those of `torch.optim.SGD` without dampening. This version is a pure
    function and changes no tensor in place, so that an outer step can be rejected after its moves are computed.
    """

    lr: float  # the learning rate
    momentum: float  # μ, 0 ≤ μ < 1

    def __call__(
        self, value: torch.Tensor, velocity: torch.Tensor, gradient: torch.Tensor, scale: float = 1.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the new x and the new v, given x = `value`, v = `velocity`, g = `gradient` and s = `scale`."""
        velocity = self.velocity(velocity, gradient)
        return value - self.move(velocity, scale), velocity

    def velocity(self, velocity: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """Return the new v, which is μ v + g."""
        return self.momentum * velocity + gradient

    def move(self, velocity: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        """Return the move s · lr · v, which is subtracted from x."""
        return scale * self.lr * velocity
