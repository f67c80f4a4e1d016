"""The inner loop: N training steps on the synthetic set.

The mini-batches and augmentations of all steps are drawn before the loop starts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
from torch import nn
from torch.nn import functional as F

from satm.engine.update import PLAIN_SGD, UpdateRule
from satm.errors import ConfigError, ShapeError
from satm.types import Images, Labels

Criterion: TypeAlias = Callable[[torch.Tensor, Labels], torch.Tensor]
"""A function from (logits [b, K], labels) to the inner loss: a 0-dimensional tensor, the mean over the batch."""


class OuterVariables(NamedTuple):
    """The values that the outer loop learns: the images φ, their labels, and the step size α."""

    images: Images  # φ [n, C, H, W]
    labels: Labels  # [n] int64, or [n, K] probabilities
    step_size: torch.Tensor  # α, 0-dimensional; or [N], one step size for each inner step


@dataclass(frozen=True, kw_only=True)
class InnerLoop:
    """An inner loop of N steps. With plain SGD (paper §3.1, where the loop is called Ξ) the steps are:

        θ_{i+1} = θ_i − α ∇_θ L_CE(θ_i, T_i(φ[B_i])),  i = 0 … N − 1

    θ_i [P] are the network's parameters before step i, φ [n, C, H, W] are the synthetic images, α is the step size, and
    L_CE is the `criterion` (cross-entropy). B_i are the indices of the mini-batch of step i, and T_i is its
    augmentation. Both are fixed before the loop runs, so two passes through the same loop use the same random draws.
    If `rule` is not plain SGD, it uses the same gradient, but computes θ_{i+1} from it in another way.

    Raises ShapeError if the numbers of mini-batches and augmentations differ, and ConfigError if both are 0.
    """

    network: nn.Module
    batches: tuple[torch.Tensor | None, ...]  # B_i for each of the N steps: indices [b] into φ, or None for all of φ
    transforms: tuple[Callable[[Images], Images], ...]  # T_i for each step: a differentiable function of the images
    criterion: Criterion = F.cross_entropy
    rule: UpdateRule = PLAIN_SGD

    def __post_init__(self) -> None:
        if len(self.batches) != len(self.transforms):
            raise ShapeError(f"{len(self.batches)} mini-batches for {len(self.transforms)} augmentations")
        if not self.batches:
            raise ConfigError("an inner loop of 0 steps: expected N of at least 1")

    @property
    def steps(self) -> int:
        """N, the number of inner steps."""
        return len(self.batches)

    def step_size(self, step: int, at: OuterVariables) -> torch.Tensor:
        """The step size α of inner step `step`, 0-dimensional."""
        return at.step_size if at.step_size.ndim == 0 else at.step_size[step]

    def batch(self, step: int, at: OuterVariables) -> tuple[Images, Labels]:
        """The mini-batch of inner step `step`: its images φ[B_i] before the augmentation, and their labels."""
        index = self.batches[step]
        return (at.images, at.labels) if index is None else (at.images[index], at.labels[index])

    def loss(self, call: Callable[[Images], torch.Tensor], step: int, at: OuterVariables) -> torch.Tensor:
        """The inner loss of step `step`, the mean over its mini-batch. `call` is the network: from images to logits."""
        images, labels = self.batch(step, at)
        return self.criterion(call(self.transforms[step](images)), labels)
