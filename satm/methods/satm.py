"""SATM: Sharpness-Aware Trajectory Matching (Gao et al. 2025, Algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass, field

from satm.methods.base import METHODS
from satm.methods.outer import SATM, AnyOuter
from satm.methods.outer.problem import StepSizeDerivative
from satm.methods.trajectory.config import TrajectoryConfig
from satm.methods.trajectory.method import TrajectoryMethod


@dataclass(frozen=True, slots=True, kw_only=True)
class SATMConfig(TrajectoryConfig):
    """MTT with three changes: the sharpness-aware rule, a window of int(N/3) steps (§5.2), and α by Eq. 10.

    The window and the closed form of Eq. 10 cost less than MTT's full derivatives. The rule takes a second pass.
    """

    outer: AnyOuter = field(default_factory=SATM)
    step_size_derivative: StepSizeDerivative = "first_order"
    momentum_step_size: float = 0.0  # the printed Eq. 10 has none

    def default_window(self) -> int:
        """int(N/3), at least 1."""
        return max(1, self.inner_steps // 3)


METHODS.add(
    TrajectoryMethod(
        name="satm",
        summary="sharpness-aware trajectory matching (Gao et al. 2025)",
        cite=("gao2025satm",),
        config=SATMConfig,
    )
)
