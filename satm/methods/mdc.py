"""MDC: multisize dataset condensation (He et al. 2024), on top of trajectory matching."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

import torch

from satm import networks
from satm.engine import FlatNetwork, InnerLoop
from satm.errors import ConfigError
from satm.methods.base import METHODS, Condensation, Method, Task
from satm.methods.direct import ClassBatches
from satm.methods.outer import AnyOuter, OuterProblem, OuterUpdate
from satm.methods.outer.problem import State
from satm.methods.trajectory import TrajectoryCondensation, TrajectoryConfig, default_outer
from satm.types import Images


@dataclass(frozen=True, slots=True, kw_only=True)
class MDCConfig(TrajectoryConfig):
    """L = L_base(φ) + L_base(φ[:j]), φ[:j] the first j images of each class (He et al. Eq. 4).

    j, the most learnable subset, is chosen anew every `period` outer steps: it is the size whose feature distance to the
    real images changed the most since the last choice (Eqs. 5 to 7), the smallest at first. Where it grows, the largest earlier choice below it
    is frozen (Eq. 8). The base is a trajectory method with hard labels, for the paper's IDC and DREAM.
    """

    base: str = "mtt"
    sizes: tuple[int, ...] | None = None  # prefixes that compete, in images a class; null: 1 … IPC − 1
    period: int | None = None  # outer steps between choices (Δt); null: a twentieth of all
    batch_real: int = 64  # real images a class for the feature distance

    def __post_init__(self) -> None:
        TrajectoryConfig.__post_init__(self)  # see `SATMConfig`
        if self.period is not None and self.period < 1:
            raise ConfigError(f"period {self.period}: expected at least 1 outer step, or null for a twentieth of all")
        if self.sizes is not None and (list(self.sizes) != sorted(set(self.sizes)) or min(self.sizes, default=1) < 1):
            raise ConfigError(f"sizes {list(self.sizes)}: expected rising numbers of images a class, 1 or more")
        if self.batch_real < 1:
            raise ConfigError(f"batch_real {self.batch_real}: expected at least 1 image a class")
        self.base_config()

    def base_config(self) -> TrajectoryConfig:
        """The base method under these numbers."""
        kind = METHODS.get(self.base).config
