"""Types that all packages share: tensors named by what they hold, augmentations, and labelled images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias

import torch

Images: TypeAlias = torch.Tensor
"""Images [n, C, H, W]: float in the preprocessed (normalised or whitened) space of a set, or uint8 as in files."""

Labels: TypeAlias = torch.Tensor
"""Labels: class indices [n] int64, or probabilities or logits [n, K] float for K classes."""

FlatParams: TypeAlias = torch.Tensor
"""All P parameters of a network as one vector [P], flattened and joined in the order of `.parameters()`."""

LabelKind: TypeAlias = Literal["hard", "probabilities", "logits"]  # hard: class indices

Augment: TypeAlias = Callable[[Images, torch.Generator], Images]
"""A random, differentiable transform of a batch of images. It takes its random numbers from the generator."""

Mix: TypeAlias = Callable[[Images, Labels, torch.Generator], tuple[Images, Labels]]
"""A random transform of a batch of images that also changes their targets, as CutMix does."""


Criterion: TypeAlias = Callable[[torch.Tensor, Labels], torch.Tensor]
"""A loss. It takes logits [b, K] and targets, and returns a scalar: the mean over the images of the batch."""


class Examples(Protocol):
    """Labelled images that can be drawn by index: a split of real data, or a synthetic set."""

    def __len__(self) -> int: ...

    def batch(self, index: torch.Tensor) -> tuple[Images, Labels]:
        """The preprocessed images [b, C, H, W] (float) and targets ([b] int64 or [b, K] probabilities) at `index`.

        `index` [b] int64 is on the CPU. Images and targets are on the device of the examples.
        """
