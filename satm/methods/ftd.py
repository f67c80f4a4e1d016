"""FTD: matching flat trajectories, with an average of the images over outer steps (Du et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass, field

from satm.methods.base import METHODS
from satm.methods.outer import EMA, AnyOuter
from satm.methods.trajectory.config import TrajectoryConfig
from satm.methods.trajectory.flat_experts import flat_experts, need_flat_experts
from satm.methods.trajectory.method import TrajectoryMethod


@dataclass(frozen=True, slots=True, kw_only=True)
class FTDConfig(TrajectoryConfig):
    """MTT on experts that GSAM trained for flatness (`experts.flat`). The result is an average of φ over outer steps.

    In the published script, an evaluation does not start from a fresh network. It continues to train the network of the
    evaluation before it, which was of another set. Here every evaluation starts from a fresh network.
    """

    outer: AnyOuter = field(default_factory=EMA)


METHODS.add(
    TrajectoryMethod(
        name="ftd",
        summary="MTT on flat expert trajectories, images averaged (Du et al. 2023)",
        cite=("du2023ftd",),
        config=FTDConfig,
        experts=flat_experts,
        check=need_flat_experts,
    )
)
