"""Adam, as φ and the step sizes of some methods use it in their outer updates."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamMove:
    """Adam (Kingma and Ba 2015) for one tensor x with gradient g, at the t-th move:

        m ← β₁ m + (1 − β₁) g,   v ← β₂ v + (1 − β₂) g²
        x ← x − s · lr · m/(1 − β₁^t) / (√(v/(1 − β₂^t)) + ε)

    s is 1, or less if a failed outer step is tried again. This is `torch.optim.Adam`, as a pure function of one state
    vector: m, v, the usual norm e and t. With `clip`, g is first shortened to at most `clip` times e, after
    e ← 0.9 e + 0.1 ‖g‖. At the first move e = ‖g‖ (RaT-BPTT's code).
    """

    lr: float
    beta1: float
    beta2: float = 0.999
    eps: float = 1e-8
    clip: float | None = None

    def at_rest(self, value: torch.Tensor) -> torch.Tensor:
        """The state before the first move of x = `value`: [2·size + 2]."""
        return value.new_zeros(2 * value.numel() + 2)

    def __call__(
        self, value: torch.Tensor, state: torch.Tensor, gradient: torch.Tensor, scale: float = 1.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The new x and the new state."""
        size = value.numel()
        m, v, usual, done = (
            state[:size],
            state[size:-2],
            state[-2],
            state[-1].floor(),
        )  # half taken back, t is no integer
        g, norm, t = gradient.flatten(), gradient.norm(), done + 1
        usual = norm if done == 0 else 0.9 * usual + 0.1 * norm
        if self.clip is not None:
            g = g * (self.clip * usual / (norm + 1e-6)).clamp(max=1)  # as torch.nn.utils.clip_grad_norm_
        m, v = self.beta1 * m + (1 - self.beta1) * g, self.beta2 * v + (1 - self.beta2) * g.square()
        move = m / (1 - self.beta1**t) / ((v / (1 - self.beta2**t)).sqrt() + self.eps)
        return value - scale * self.lr * move.view_as(value), torch.cat([m, v, torch.stack([usual, t])])
