"""MTT: dataset distillation by matching training trajectories (Cazenavette et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass

from satm.methods.base import METHODS
from satm.methods.trajectory.config import TrajectoryConfig
from satm.methods.trajectory.method import TrajectoryMethod


@dataclass(frozen=True, slots=True, kw_only=True)
class MTTConfig(TrajectoryConfig):
    """The settings of MTT, which minimises this matching loss:

        F = ‖θ_N − θ^E_{t+M}‖² / ‖θ^E_t − θ^E_{t+M}‖²

    θ^E_t are the parameters of expert E after t epochs, and θ^E_{t+M} those after M more epochs. The inner loop starts
    at θ^E_t and trains for N steps on the synthetic images. θ_N are the parameters at its end. F is differentiated
    exactly, through all N inner steps, with respect to the images and to the step size α.

    MTT is the simplest method that matches trajectories. The other methods are compared with it.
    """


METHODS.add(
    TrajectoryMethod(
        name="mtt",
        summary="matching training trajectories, full unroll (Cazenavette et al. 2022)",
        cite=("cazenavette2022mtt",),
        config=MTTConfig,
    )
)
