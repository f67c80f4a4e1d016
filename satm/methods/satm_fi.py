"""SATM-FI ("flat inner-loop"): SATM with experts that are trained for flat minima, as in FTD.

Source: Gao et al. 2025, A.6 and Table 9.
"""

from __future__ import annotations

from satm.methods.base import METHODS
from satm.methods.satm import SATMConfig
from satm.methods.trajectory.flat_experts import flat_experts, need_flat_experts
from satm.methods.trajectory.method import TrajectoryMethod

METHODS.add(
    TrajectoryMethod(
        name="satm-fi",
        summary="SATM on flat expert trajectories (Gao et al. 2025, A.6)",
        cite=("gao2025satm", "du2023ftd"),
        config=SATMConfig,
        experts=flat_experts,
        check=need_flat_experts,
    )
)
