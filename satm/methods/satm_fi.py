"""SATM-FI: SATM on FTD's flat experts (Gao et al. 2025, A.6 and Table 9)."""

from __future__ import annotations

from satm.methods.base import METHODS, Method
from satm.methods.satm import SATMConfig
from satm.methods.trajectory.condensation import TrajectoryCondensation
from satm.methods.trajectory.flat_experts import flat_experts, need_flat_experts

METHODS.add(
    Method(
        name="satm-fi",
        summary="SATM on flat expert trajectories (Gao et al. 2025, A.6)",
        config=SATMConfig,
        expert_epochs=SATMConfig.stored_epochs,
        begin=TrajectoryCondensation,
        experts=flat_experts,
        check=need_flat_experts,
    )
)
