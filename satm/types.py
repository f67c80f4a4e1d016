"""Types that all packages share: tensors by shape, augmentations, and labelled images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias

import torch

Images: TypeAlias = torch.Tensor
"""[n, C, H, W]: float in a set's own (normalised or whitened) space, or uint8 as in files."""

Labels: TypeAlias = torch.Tensor
"""[n] int64 class indices, or [n, K] float probabilities or logits."""

FlatParams: TypeAlias = torch.Tensor
"""[P]: every parameter of a network in `.parameters()` order, flattened and joined."""

LabelKind: TypeAlias = Literal["hard", "probabilities", "logits"]

Augment: TypeAlias = Callable[[Images, torch.Generator], Images]
"""A random, differentiable transform of a batch. It draws from the generator."""

Mix: TypeAlias = Callable[[Images, Labels, torch.Generator], tuple[Images, Labels]]
"""A random transform of a batch that changes its targets too, as CutMix does."""


Criterion: TypeAlias = Callable[[torch.Tensor, Labels], torch.Tensor]
"""(logits [b, K], targets) → the loss of a batch, a scalar: the mean over its images."""


class Examples(Protocol):
    """Labelled images that can be drawn by index: a split of real data, or a synthetic set."""

    def __len__(self) -> int: ...

    def batch(self, index: torch.Tensor) -> tuple[Images, Labels]:
        """The preprocessed images [b, C, H, W] (float) and targets ([b] int64 or [b, K] probabilities) at `index`.

        `index` [b] int64 is on the CPU. Images and targets are on the examples' own device.
        """
