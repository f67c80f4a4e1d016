"""Schedules of learning rates: cosine annealing with warm restarts, and half a cosine."""

from __future__ import annotations

import math
from dataclasses import dataclass

from satm.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmRestarts:
    """Cosine annealing with warm restarts, after `warmup` epochs at a constant lower learning rate.

    In each cycle the learning rate falls from its highest value to `floor` times this value. In epoch p of a cycle of T
    epochs, p counted from 0, it is the highest value times floor + (1 − floor)(1 + cos(π p/T))/2.

    Source: SGDR (Loshchilov and Hutter 2017, Eq. 5). The warm-up is from GDumb, which has one epoch at a tenth of the
    highest rate (src/main.py:18-29 at 4f412d7).
    """

    first: int = 1  # the number of epochs of the first cycle
    growth: int = 2  # each cycle is this many times as long as the cycle before it
    floor: float = 0.01  # the lowest learning rate, as a fraction of the highest
    warmup: int = 0  # the number of epochs before the first cycle
    warmup_factor: float = 0.1  # the learning rate of the warm-up epochs, as a fraction of the highest

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
        """The learning rate in epoch `epoch`, counted from 0, as a fraction of the highest learning rate."""
        position, length = epoch - self.warmup, self.first
        if position < 0:
            return self.warmup_factor
        while position >= length:
            position, length = position - length, length * self.growth
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * position / length)) / 2


def half_cosine(epoch: int, epochs: int) -> float:
    """The learning rate in epoch e of E, counted from 0, as a fraction of the first: (1 + cos(π e / 2E)) / 2.

    It falls from 1 only to nearly 1/2, because the argument of the cosine ends at π/2. Source: RDED's LambdaLR
    (validation/main.py:84-90 at 3f6453d), which ends at the same value.
    """
    return (1 + math.cos(math.pi * epoch / epochs / 2)) / 2
