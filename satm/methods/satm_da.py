"""SATM-DA: SATM with DATM's curriculum and label alignment (Gao et al. 2025, Table 7)."""

from __future__ import annotations

from dataclasses import dataclass, field

from satm.methods.base import METHODS
from satm.methods.datm import DATMConfig
from satm.methods.outer import SATM, AnyOuter
from satm.methods.outer.problem import StepSizeDerivative
from satm.methods.trajectory.flat_experts import flat_experts
from satm.methods.trajectory.method import TrajectoryMethod


@dataclass(frozen=True, slots=True, kw_only=True)
class SATMDAConfig(DATMConfig):
    """The settings of SATM-DA, which combines two methods.

    The start epochs of the segments, the labels, the initial images and the threshold are those of DATM. The outer
    rule, the window and the derivative and momentum of the step size α are those of SATM (satm.py).
    """

    outer: AnyOuter = field(default_factory=SATM)
    step_size_derivative: StepSizeDerivative = "first_order"
    momentum_step_size: float = 0.0

    def default_window(self) -> int:
        """The window if `window` is null: int(N/3) of the N inner steps, and at least 1."""
        return max(1, self.inner_steps // 3)


METHODS.add(
    TrajectoryMethod(
        name="satm-da",
        summary="SATM with DATM's curriculum and labels (Gao et al. 2025, Table 7)",
        cite=("gao2025satm", "guo2024datm"),
        config=SATMDAConfig,
        experts=flat_experts,
    )
)
