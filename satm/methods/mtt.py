"""MTT: dataset distillation by matching training trajectories (Cazenavette et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass

from satm.methods.base import METHODS
from satm.methods.trajectory.config import TrajectoryConfig
from satm.methods.trajectory.method import TrajectoryMethod


@dataclass(frozen=True, slots=True, kw_only=True)
class MTTConfig(TrajectoryConfig):
    """F = ‖θ_N − θ^E_{t+M}‖²/‖θ^E_t − θ^E_{t+M}‖², differentiated through all N steps, α's derivative included."""


METHODS.add(
    TrajectoryMethod(
        name="mtt",
        summary="matching training trajectories, full unroll (Cazenavette et al. 2022)",
        config=MTTConfig,
    )
)
