"""How many of the last inner steps are differentiated (Truncated Unrolling Hypergradient, paper Eq. 8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from satm.errors import ConfigError


class Truncation(Protocol):
    """Where the tape begins."""

    def first_taped(self, steps: int) -> int:
        """ι: of `steps` inner steps, the first that is differentiated; N − ι are."""


@dataclass(frozen=True, slots=True)
class Full:
    """Every step is differentiated: ι = 0, MTT's hypergradient."""

    def first_taped(self, steps: int) -> int:
        """0."""
        return 0


@dataclass(frozen=True, slots=True)
class LastSteps:
    """The last `window` steps are differentiated: ι = N − window."""

    window: int

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ConfigError(f"window {self.window}: expected at least 1 differentiated step")

    def first_taped(self, steps: int) -> int:
        """N − window; raises ConfigError when the window is longer than the loop."""
        if self.window > steps:
            raise ConfigError(f"window {self.window} is longer than the inner loop of {steps} steps; lower window")
        return steps - self.window
