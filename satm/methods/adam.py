"""Adam for outer updates: some methods use it for the images φ or for the step sizes."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamMove:
    """Adam (Kingma and Ba 2015) for one tensor x with gradient g, at the t-th move:

        m ← β₁ m + (1 − β₁) g,   v ← β₂ v + (1 − β₂) g²
        x ← x − s · lr · m/(1 − β₁^t) / (√(v/(1 − β₂^t)) + ε)

    s is a factor of the learning rate. It is 1, or less if a failed outer step is tried again or if the run lowers its
    learning rates (`halvings`). Without `clip` this computes the same as `torch.optim.Adam`, but as a pure function. m
    and v start at 0. The state is one vector: m, v, a running mean e of the norm ‖g‖, and the number of moves done. At
    the first move e = ‖g‖, at each later move e ← 0.9 e + 0.1 ‖g‖. With `clip`, g is then shortened to a norm of at
    most `clip` · e, before m and v are computed (RaT-BPTT's code).
    """

    lr: float
    beta1: float  # β₁
    beta2: float = 0.999  # β₂
    eps: float = 1e-8  # ε
    clip: float | None = None  # None: g is not shortened

    def at_rest(self, value: torch.Tensor) -> torch.Tensor:
        """Return the state [2·size + 2] before the first move of x = `value`."""
        return value.new_zeros(2 * value.numel() + 2)

    def __call__(
        self, value: torch.Tensor, state: torch.Tensor, gradient: torch.Tensor, scale: float = 1.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the new x and the new state, given x = `value`, its state, g = `gradient` and s = `scale`."""
        move, state = self.direction(state, gradient)
        return value - scale * self.lr * move, state

    def direction(self, state: torch.Tensor, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the direction of the next move, with the shape of g = `gradient`, and the new state.

        The direction is m/(1 − β₁^t) / (√(v/(1 − β₂^t)) + ε), the move without its learning rate.
        """
        size = gradient.numel()
        m, v, usual, done = (
            state[:size],
            state[size:-2],
            state[-2],
            state[-1].floor(),
        )  # floor: the number of moves is no whole number if the guard moved the state half of the way back
        g, norm, t = gradient.flatten(), gradient.norm(), done + 1
        usual = norm if done == 0 else 0.9 * usual + 0.1 * norm
        if self.clip is not None:
            g = g * (self.clip * usual / (norm + 1e-6)).clamp(max=1)  # as torch.nn.utils.clip_grad_norm_
        m, v = self.beta1 * m + (1 - self.beta1) * g, self.beta2 * v + (1 - self.beta2) * g.square()
        move = m / (1 - self.beta1**t) / ((v / (1 - self.beta2**t)).sqrt() + self.eps)
        return move.view_as(gradient), torch.cat([m, v, torch.stack([usual, t])])
