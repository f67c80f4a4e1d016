"""The settings that every trajectory-matching method shares, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from satm.errors import ConfigError
from satm.experts.segment import start_epochs
from satm.methods.trajectory.unrolled import UnrolledConfig
from satm.methods.trajectory.unrolled import default_of as default_of
from satm.methods.trajectory.unrolled import default_outer as default_outer


@dataclass(frozen=True, slots=True, kw_only=True)
class TrajectoryConfig(UnrolledConfig):
    """Matching training trajectories: the inner loop starts at a snapshot of an expert and shall end at a later one."""

    expert_epochs: int  # M, expert epochs a segment spans
    max_start_epoch: int  # T
    start_epochs: Literal["below", "up_to"] = "below"  # t < T as MTT's code draws, or t ≤ T as the paper writes

    def __post_init__(self) -> None:
        if self.expert_epochs < 1:
            raise ConfigError(f"expert_epochs {self.expert_epochs}: expected at least 1")
        UnrolledConfig.__post_init__(self)  # not super(): slots make a new class, and super() finds the old one
        self.starts()

    def starts(self) -> int:
        """How many start epochs t there are: t = 0 … this − 1."""
        return start_epochs(self.max_start_epoch, inclusive=self.start_epochs == "up_to")

    def stored_epochs(self) -> int:
        """The last epoch an expert needs: the largest t plus M."""
        return self.starts() - 1 + self.expert_epochs

    def epochs_asked(self) -> str:
        """The settings that `stored_epochs` depends on, in words."""
        return f"max_start_epoch {self.max_start_epoch} and expert_epochs {self.expert_epochs}"

    def starts_at(self, step: int) -> range:
        """The start epochs that outer step `step` draws from."""
        return range(self.starts())
