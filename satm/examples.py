"""Labelled images held as two tensors."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from satm.types import Images, Labels


@dataclass(frozen=True, slots=True)
class TensorExamples:
    """`Examples` (satm/types.py) held as two tensors on one device: images and targets. Targets may be soft labels."""

    images: Images  # [n, C, H, W] float, preprocessed
    targets: Labels  # [n] int64 classes, or [n, K] probabilities

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, index: torch.Tensor) -> tuple[Images, Labels]:
        """Return the images and targets at the positions `index` [b] int64."""
        index = index.to(self.images.device)
        return self.images[index], self.targets[index]
