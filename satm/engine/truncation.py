"""How many inner steps are differentiated (Truncated Unrolling Hypergradient, paper Eq. 8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from satm.errors import ConfigError


class Truncation(Protocol):
    """The choice of ι, the first differentiated inner step.

    The steps before ι run without recording for autograd, so their result θ_ι is a constant.
    """

    def first_taped(self, steps: int) -> int:
        """Return ι for an inner loop of N = `steps` steps. The last N − ι steps are differentiated."""


@dataclass(frozen=True, slots=True)
class Full:
    """Every step is differentiated: ι = 0. This is MTT's hypergradient."""

    def first_taped(self, steps: int) -> int:
        """See `Truncation`."""
        return 0


@dataclass(frozen=True, slots=True)
class LastSteps:
    """Only the last `window` steps are differentiated: ι = N − window (paper Eq. 8).

    A short window costs less time and RAM, but it ignores how φ acts through the earlier steps.
    """

    window: int

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ConfigError(f"window {self.window}: expected at least 1 differentiated step")

    def first_taped(self, steps: int) -> int:
        """Return ι = N − window. Raises ConfigError if the window is longer than the loop."""
        if self.window > steps:
            raise ConfigError(f"window {self.window} is longer than the inner loop of {steps} steps; lower window")
        return steps - self.window
