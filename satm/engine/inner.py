"""The inner loop: N steps on the synthetic set by an update rule, with all random draws made before it starts."""

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
"""(logits [b, K], labels) → the inner loss, mean over the batch, 0-dimensional."""


class OuterVariables(NamedTuple):
    """The values that the outer loop learns: the images φ, their labels, and the step size α."""

    images: Images  # φ [n, C, H, W]
    labels: Labels  # [n] int64, or [n, K] probabilities
    step_size: torch.Tensor  # α, 0-dimensional; or [N], one for each step


@dataclass(frozen=True, kw_only=True)
class InnerLoop:
    """θ_{i+1} = θ_i − α ∇_θ L_CE(θ_i, T_i(φ[B_i])),  i = 0 … N − 1   (paper §3.1, Ξ).

    That is with plain SGD. Another `rule` moves θ along the same gradient in its own way.
    θ [P] are the network's parameters, φ [n, C, H, W] the synthetic images, α the step size. The mini-batch B_i and the
    augmentation T_i of each step are fixed values, so two passes over one loop see the same draws. Raises ShapeError
    unless there is one mini-batch and one augmentation for each step, and ConfigError if there are none.
    """

    network: nn.Module
    batches: tuple[torch.Tensor | None, ...]  # N index vectors [b] into φ; None: all of φ
    transforms: tuple[Callable[[Images], Images], ...]  # N differentiable functions of the images only
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
        """α of step `step`, 0-dimensional."""
        return at.step_size if at.step_size.ndim == 0 else at.step_size[step]

    def batch(self, step: int, at: OuterVariables) -> tuple[Images, Labels]:
        """φ[B_i] and its labels, before the augmentation of step `step`."""
        index = self.batches[step]
        return (at.images, at.labels) if index is None else (at.images[index], at.labels[index])

    def loss(self, call: Callable[[Images], torch.Tensor], step: int, at: OuterVariables) -> torch.Tensor:
        """The inner loss of step `step`, mean over its mini-batch; `call` is the network at some θ."""
        images, labels = self.batch(step, at)
        return self.criterion(call(self.transforms[step](images)), labels)
