"""Labelled images held as two tensors."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from satm.types import Images, Labels


@dataclass(frozen=True, slots=True)
class TensorExamples:
    """`Examples` made of tensors on one device. Targets may be soft."""

    images: Images  # [n, C, H, W] float, preprocessed
    targets: Labels  # [n] int64 classes, or [n, K] probabilities

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, index: torch.Tensor) -> tuple[Images, Labels]:
        """The images and targets at `index` [b]."""
        index = index.to(self.images.device)
        return self.images[index], self.targets[index]
