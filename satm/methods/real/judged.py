"""`JudgedLoss`: an outer loss on real images that also counts how many of them the trained network classifies."""

from __future__ import annotations

import torch

from satm.matching import RealLoss
from satm.types import FlatParams


class JudgedLoss:
    """`RealLoss` for one outer step. It also counts the correct answers at the first θ_N at which it is computed.

    An outer rule computes the loss once in each of its passes. So the count belongs to the first pass, whatever the
    rule does.
    """

    def __init__(self, loss: RealLoss) -> None:
        self.loss = loss
        self.hits: int | None = None  # the number of real images that are classified correctly; None: not counted yet

    def __call__(self, theta: FlatParams) -> torch.Tensor:
        """Return the loss at θ [P], 0-dimensional; see `RealLoss`."""
        if self.hits is None:
            self.hits = self.loss.hits(theta.detach())
        return self.loss(theta)
