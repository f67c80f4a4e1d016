"""MTT: dataset distillation by matching training trajectories (Cazenavette et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass

from satm.methods.base import METHODS
from satm.methods.trajectory.config import TrajectoryConfig
from satm.methods.trajectory.method import TrajectoryMethod


@dataclass(frozen=True, slots=True, kw_only=True)
class MTTConfig(TrajectoryConfig):
    """F = ‖θ_N − θ^E_{t+M}‖²/‖θ^E_t − θ^E_{t+M}‖², with exact derivatives through all N inner steps, for α too.

    θ_N is the end of the inner loop from θ^E_t, the expert E after t epochs. The simplest method of this kind, and the
    one to compare the others with.
    """


METHODS.add(
    TrajectoryMethod(
        name="mtt",
        summary="matching training trajectories, full unroll (Cazenavette et al. 2022)",
        cite=("cazenavette2022mtt",),
        config=MTTConfig,
    )
)
