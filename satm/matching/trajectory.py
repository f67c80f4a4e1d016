"""The loss of trajectory matching (Cazenavette et al. 2022; paper Eq. 1)."""

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
    """

    start: FlatParams  # θ^E_t [P]
    target: FlatParams  # θ^E_{t+M} [P]

    def __post_init__(self) -> None:
        if self.start.shape != self.target.shape:
            raise ShapeError(f"segment from {tuple(self.start.shape)} to {tuple(self.target.shape)} parameters")
        if not float(self.delta) > 0:
            raise ExpertError("an expert's segment starts where it ends: its snapshots are damaged; train it again")

    @property
    def delta(self) -> torch.Tensor:
        """δ, 0-dimensional."""
        return (self.start - self.target).square().sum()

    def __call__(self, theta: FlatParams) -> torch.Tensor:
        """Return the loss at θ [P], 0-dimensional."""
        return (theta - self.target).square().sum() / self.delta
