"""The order in which classes arrive in a class-incremental stream, and its division into steps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch

from satm.errors import ConfigError
from satm.rng import Seed


def class_order(num_classes: int, seed: Seed) -> tuple[int, ...]:
    """A permutation of 0..num_classes − 1 that depends only on `seed`.

    Other projects reseed NumPy's global stream for this (docs/field.md), so at equal seeds their orders differ from
    ours.
    """
    generator = seed.child("class order").generator()
    return tuple(torch.randperm(num_classes, generator=generator).tolist())


def split_classes(order: Sequence[int], steps: int) -> tuple[tuple[int, ...], ...]:
    """`order` cut into `steps` consecutive groups. Their sizes differ by at most one, and the larger ones come first.

    No class is dropped if `steps` does not divide their number (Avalanche's own generator drops the remainder).
    Raises ConfigError if there are more steps than classes, or no step.
    """
    if not 1 <= steps <= len(order):
        raise ConfigError(f"steps {steps}: expected 1 to {len(order)}, as there are {len(order)} classes")
    size, larger = divmod(len(order), steps)
    starts = [step * size + min(step, larger) for step in range(steps + 1)]
    return tuple(tuple(order[start:stop]) for start, stop in pairwise(starts))
