"""LAMB for outer updates: Adam with moves whose length follows the norm of what is moved."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from satm.methods.adam import AdamMove


@dataclass(frozen=True, slots=True)
class LambMove:
    """LAMB (You et al. 2020) without weight decay, for one tensor x with gradient g:

        x ← x − s · lr · (‖x‖/‖u‖) u

    u is the direction of Adam for g (see `AdamMove`), and lr is the learning rate of `adam`. s is a factor of the
    learning rate, for a schedule. The norms are over the whole tensor. So a move has the length s · lr · ‖x‖. If ‖x‖ or
    ‖u‖ is 0, the ratio of the norms is taken to be 1. This computes the same as `optax.lamb` on one tensor. The state
    is that of `adam`.
    """

    adam: AdamMove

    def at_rest(self, value: torch.Tensor) -> torch.Tensor:
        """Return the state [2·size + 2] before the first move of x = `value`."""
        return self.adam.at_rest(value)

    def __call__(
        self, value: torch.Tensor, state: torch.Tensor, gradient: torch.Tensor, scale: float = 1.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the new x and the new state, given x = `value`, its state, g = `gradient` and s = `scale`."""
        direction, state = self.adam.direction(state, gradient)
        ratio = value.norm() / direction.norm()
        ratio = torch.where((value.norm() > 0) & (direction.norm() > 0), ratio, torch.ones_like(ratio))
        return value - scale * self.adam.lr * ratio * direction, state
