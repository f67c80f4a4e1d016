"""The loss of trajectory matching (Cazenavette et al. 2022; paper Eq. 1), on all or on the deeper parameters (PAD)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from satm.errors import ExpertError, ShapeError
from satm.types import FlatParams


@dataclass(frozen=True)
class TrajectoryLoss:
    """L(θ) = ‖θ − θ^E_{t+M}‖² / δ,  δ = ‖θ^E_t − θ^E_{t+M}‖².

    θ^E_t and θ^E_{t+M} are the first and the last snapshot of a segment of an expert's trajectory. L is 1 at the start
    of the segment and 0 at its end. δ depends only on the segment, so it is the same for a second pass that starts in
    the middle of the inner loop. Raises ExpertError if the two snapshots are equal (for example, because they were
    stored without a copy).

    If `first` is above 0, both norms leave out the parameters 0 … `first` − 1: those of the layers next to the input
    (PAD, Li et al. 2024). Raises ShapeError if no parameter is left.
    """

    start: FlatParams  # θ^E_t [P]
    target: FlatParams  # θ^E_{t+M} [P]
    first: int = 0  # the index of the first parameter that is matched

    def __post_init__(self) -> None:
        if self.start.shape != self.target.shape:
            raise ShapeError(f"segment from {tuple(self.start.shape)} to {tuple(self.target.shape)} parameters")
        if not 0 <= self.first < max(1, len(self.target)):
            raise ShapeError(f"first matched parameter {self.first} of {len(self.target)}: expected one of them")
        if not float(self.delta) > 0:
            raise ExpertError("an expert's segment starts where it ends: its snapshots are damaged; train it again")

    @property
    def delta(self) -> torch.Tensor:
        """δ, 0-dimensional."""
        return self._squared(self.start)

    def __call__(self, theta: FlatParams) -> torch.Tensor:
        """Return the loss at θ [P], 0-dimensional."""
        return self._squared(theta) / self.delta

    def _squared(self, theta: FlatParams) -> torch.Tensor:
        """‖θ − θ^E_{t+M}‖² over the matched parameters, 0-dimensional."""
        return (theta - self.target)[self.first :].square().sum()
