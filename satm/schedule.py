"""Schedules of learning rates: cosine annealing with warm restarts, and half a cosine."""

from __future__ import annotations

import math
from dataclasses import dataclass

from satm.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmRestarts:
    """Cosine annealing from the learning rate to `floor` times it, in cycles, after `warmup` epochs at a lower rate.

    At position p of a cycle of T epochs the factor is floor + (1 − floor)(1 + cos(π p/T))/2. Source: SGDR (Loshchilov
    and Hutter 2017, Eq. 5); the first epoch at a tenth of the rate is GDumb's (src/main.py:18-29 at 4f412d7).
    """

    first: int = 1  # epochs of the first cycle
    growth: int = 2  # length of a cycle over the length of the one before
    floor: float = 0.01  # lowest learning rate, as a fraction of the highest
    warmup: int = 0  # epochs before the first cycle
    warmup_factor: float = 0.1  # learning rate of those epochs, as a fraction of the highest

    def __post_init__(self) -> None:
        if self.first < 1 or self.growth < 1 or self.warmup < 0:
            raise ConfigError(
                f"warm restarts after {self.warmup} epochs, first cycle {self.first}, growth {self.growth}: expected 0 "
                "or more, 1 or more, 1 or more"
            )
        for name, value in (("floor", self.floor), ("warmup_factor", self.warmup_factor)):
            if not 0 <= value <= 1:
                raise ConfigError(f"{name} {value}: expected a fraction between 0 and 1")

    def factor(self, epoch: int) -> float:
        """The factor of the learning rate in epoch `epoch`, counted from 0."""
        position, length = epoch - self.warmup, self.first
        if position < 0:
            return self.warmup_factor
        while position >= length:
            position, length = position - length, length * self.growth
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * position / length)) / 2


def half_cosine(epoch: int, epochs: int) -> float:
    """The factor (1 + cos(π e / 2E)) / 2 of the learning rate in epoch e of E, counted from 0.

    It falls from 1 to nearly 1/2 only: the argument of the cosine ends at π/2. Source: RDED's LambdaLR
    (validation/main.py:84-90 at 3f6453d), which ends there.
    """
    return (1 + math.cos(math.pi * epoch / epochs / 2)) / 2
