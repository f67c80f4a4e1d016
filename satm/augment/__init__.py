"""Differentiable augmentation of image batches.

Drawing random parameters and applying them to images are two separate functions. So the same draw can be applied again.
"""

from satm.augment.chain import InTurn, named, within
from satm.augment.cutmix import CutMix
from satm.augment.dsa import DIGITS_STRATEGY, DSA, STRATEGY, Draw, apply, draw
from satm.augment.operations import DSARanges
from satm.augment.siamese import apply_per_class, draw_per_class

__all__ = [
    "DIGITS_STRATEGY",
    "DSA",
    "STRATEGY",
    "CutMix",
    "DSARanges",
    "Draw",
    "InTurn",
    "apply",
    "apply_per_class",
    "draw",
    "draw_per_class",
    "named",
    "within",
]
