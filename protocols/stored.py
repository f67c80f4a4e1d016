"""The contents of a memory as examples that a network can be trained on."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from satm.types import Images, Labels


@dataclass(frozen=True, slots=True)
class Stored:
    """Images [n, C, H, W] in the set's space and their targets."""

    images: Images
    targets: Labels

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, index: torch.Tensor) -> tuple[Images, Labels]:
        """The images and targets at `index` [b]."""
        index = index.to(self.images.device)
        return self.images[index], self.targets[index]
