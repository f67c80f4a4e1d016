"""PAD: DATM on filtered experts, matching the deeper layers only (Li et al. 2024)."""

from __future__ import annotations

from dataclasses import replace

from satm.experts import ExpertConfig, FilterConfig
from satm.methods.base import METHODS
from satm.methods.datm import DATMConfig
from satm.methods.trajectory.flat_experts import flat_experts
from satm.methods.trajectory.method import TrajectoryMethod


def filtered_experts(plain: ExpertConfig) -> ExpertConfig:
    """The configuration of PAD's experts: DATM's flat experts, with a filter of the images by their difficulty."""
    return replace(flat_experts(plain), filter=FilterConfig())


METHODS.add(
    TrajectoryMethod(
        name="pad",
        summary="DATM on experts that see images by difficulty, matching deep layers (Li et al. 2024)",
        cite=("li2024pad", "guo2024datm", "paul2021diet"),
        config=DATMConfig,
        recipe="datm",
        experts=filtered_experts,
    )
)
