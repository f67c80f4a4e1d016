"""Which classes arrive at which step of a class-incremental stream."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch

from satm.errors import ConfigError
from satm.rng import Seed


def class_order(num_classes: int, seed: Seed) -> tuple[int, ...]:
    """A permutation of 0..num_classes − 1 that depends on `seed` alone.

    The peers reseed NumPy's global stream for this (field notes §3.1), so their orders and ours differ at equal seeds.
    """
    generator = seed.child("class order").generator()
    return tuple(torch.randperm(num_classes, generator=generator).tolist())


def split_classes(order: Sequence[int], steps: int) -> tuple[tuple[int, ...], ...]:
    """`order` cut into `steps` consecutive groups whose sizes differ by at most one, the larger ones first.

    No class is dropped when `steps` does not divide their number (Avalanche's own generator drops the remainder).
    Raises ConfigError when there are more steps than classes, or none.
    """
    if not 1 <= steps <= len(order):
        raise ConfigError(f"steps {steps}: expected 1 to {len(order)}, as there are {len(order)} classes")
    size, larger = divmod(len(order), steps)
    starts = [step * size + min(step, larger) for step in range(steps + 1)]
    return tuple(tuple(order[start:stop]) for start, stop in pairwise(starts))
