"""Checks of the ranges of settings, used by several outer rules."""

from __future__ import annotations

import math

from satm.errors import ConfigError


def not_negative(**values: float) -> None:
    """Raise ConfigError unless all values are finite and 0 or more."""
    if not all(0 <= value < math.inf for value in values.values()):
        given = ", ".join(f"{name} {value}" for name, value in values.items())
        raise ConfigError(f"{given}: expected finite numbers of 0 or more")


def fraction(name: str, value: float, *, one: bool) -> None:
    """Raise ConfigError if `value` is outside its range: 0 < value ≤ 1 if `one` is true, otherwise 0 ≤ value < 1."""
    if not (0 < value <= 1 if one else 0 <= value < 1):
        raise ConfigError(f"{name} {value}: expected {'0 < ' + name + ' ≤ 1' if one else '0 ≤ ' + name + ' < 1'}")
