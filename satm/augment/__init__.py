"""Differentiable augmentation: what is drawn is kept apart from how it is applied, so that a draw can be replayed."""

from satm.augment.dsa import DIGITS_STRATEGY, DSA, STRATEGY, Draw, apply, draw
from satm.augment.operations import DSARanges

__all__ = ["DIGITS_STRATEGY", "DSA", "STRATEGY", "DSARanges", "Draw", "apply", "draw"]
