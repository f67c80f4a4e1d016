"""The loss on real images of a network that was trained on the synthetic set (Wang et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from satm.functional import FlatNetwork
from satm.types import FlatParams, Images, Labels

PIECE = 512  # the largest number of images with activations in memory at the same time


@dataclass(frozen=True)
class RealLoss:
    """L(θ) = mean L_CE(x, y; θ) over one batch of real images x [b, C, H, W] with labels y [b].

    A large batch is computed in pieces of `PIECE` images, to save memory. The activations of a piece are not kept: its
    forward pass is run again for the derivative (checkpointing).
    """

    network: FlatNetwork
    images: Images
    labels: Labels

    def __call__(self, theta: FlatParams) -> torch.Tensor:
        """Return the loss at θ [P], 0-dimensional."""
        if len(self.images) <= PIECE:
            return self._sum(theta, self.images, self.labels) / len(self.images)
        pieces = zip(self.images.split(PIECE), self.labels.split(PIECE), strict=True)
        losses = [checkpoint(self._sum, theta, *piece, use_reentrant=False) for piece in pieces]
        return torch.stack(losses).sum() / len(self.images)

    def hits(self, theta: FlatParams) -> int:
        """Return how many of the real images the network with the parameters θ [P] classifies correctly."""
        pieces = zip(self.images.split(PIECE), self.labels.split(PIECE), strict=True)
        with torch.no_grad():
            return sum(int((self.network(theta, x).argmax(1) == y).sum()) for x, y in pieces)

    def _sum(self, theta: FlatParams, images: Images, labels: Labels) -> torch.Tensor:
        return F.cross_entropy(self.network(theta, images), labels, reduction="sum")
