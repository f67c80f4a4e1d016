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
    """The settings of SATM, which is MTT with three changes:

    1. The outer rule is sharpness-aware (`satm.methods.outer.satm`). It needs a second pass through the inner loop.
    2. Only the last int(N/3) of the N inner steps are differentiated (the window, §5.2).
    3. The derivative of the loss with respect to the step size α is the closed form of Eq. 10.

    The first change makes an outer step more expensive than in MTT, which differentiates all inner steps of one pass.
    The second and the third change make it cheaper.
    """

    outer: AnyOuter = field(default_factory=SATM)
    step_size_derivative: StepSizeDerivative = "first_order"
    momentum_step_size: float = 0.0  # no momentum, because the printed Eq. 10 has none

    def default_window(self) -> int:
        """The window if `window` is null: int(N/3) inner steps, and at least 1."""
        return max(1, self.inner_steps // 3)


METHODS.add(
    TrajectoryMethod(
        name="satm",
        summary="sharpness-aware trajectory matching (Gao et al. 2025)",
        cite=("gao2025satm",),
        config=SATMConfig,
    )
)
