"""FTD: matching flat trajectories, with an average of the images over outer steps (Du et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass, field

from satm.methods.base import METHODS, Method
from satm.methods.outer import EMA, AnyOuter
from satm.methods.trajectory.condensation import TrajectoryCondensation
from satm.methods.trajectory.config import TrajectoryConfig
from satm.methods.trajectory.flat_experts import flat_experts, need_flat_experts


@dataclass(frozen=True, slots=True, kw_only=True)
class FTDConfig(TrajectoryConfig):
    """MTT on experts that GSAM trained for flatness (`experts.flat`). The result is an average of φ over outer steps.

    In the published script, an evaluation goes on with a network that another set was just evaluated with. Here every
    evaluation starts from a fresh network.
    """

    outer: AnyOuter = field(default_factory=EMA)


METHODS.add(
    Method(
        name="ftd",
        summary="MTT on flat expert trajectories, images averaged (Du et al. 2023)",
        config=FTDConfig,
        expert_epochs=FTDConfig.stored_epochs,
        begin=TrajectoryCondensation,
        experts=flat_experts,
        check=need_flat_experts,
    )
)
