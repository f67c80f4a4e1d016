"""SATM: Sharpness-Aware Trajectory Matching (Gao et al. 2025, Algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass

from satm.errors import ConfigError
from satm.methods.base import Condensation, Method, Task
from satm.methods.outer import NoiseReading, SharpnessAware
from satm.methods.trajectory import TrajectoryCondensation, TrajectoryConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class SATMConfig(TrajectoryConfig):
    """Trajectory matching with the sharpness-aware outer rule; ρ and γ are not printed in the paper."""

    rho: float = 0.01  # ρ: ‖ε‖₂ of the perturbation of the whole set
    gamma: float = 0.01  # γ: strength of the smoothing noise, under the reading below
    noise: NoiseReading = "relative"
    tau: int | None = None  # τ ≥ ι, where the second pass starts; null: ι
    redraw: bool = False  # fresh mini-batches and augmentations for the second pass

    def __post_init__(self) -> None:
        # Not super(): dataclasses with slots make a new class, and the zero-argument form would miss it.
        TrajectoryConfig.__post_init__(self)
        iota = self.iota
        if self.tau is not None and not iota <= self.tau < self.inner_steps:
            raise ConfigError(
                f"tau {self.tau}: with {self.inner_steps} inner steps and a window of {self.inner_steps - iota}, "
                f"expected {iota} ≤ tau ≤ {self.inner_steps - 1}"
            )
        self.rule()

    @property
    def iota(self) -> int:
        """ι = N − window."""
        return self.truncation().first_taped(self.inner_steps)

    def rule(self) -> SharpnessAware:
        """The outer rule of these numbers."""
        tau = self.iota if self.tau is None else self.tau
        return SharpnessAware(rho=self.rho, gamma=self.gamma, noise=self.noise, tau=tau, redraw=self.redraw)


def _begin(task: Task, config: SATMConfig) -> Condensation:
    return TrajectoryCondensation(task, config, config.rule())


METHOD = Method(
    name="satm",
    summary="sharpness-aware trajectory matching (Gao et al. 2025)",
    config=SATMConfig,
    expert_epochs=SATMConfig.stored_epochs,
    begin=_begin,
)
