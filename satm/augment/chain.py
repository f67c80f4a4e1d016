"""Augmentations by name: one operation for each batch (DSA), or several one after another."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from satm.augment.dsa import DSA, parse
from satm.augment.operations import DSARanges
from satm.types import Augment, Images


@dataclass(frozen=True, slots=True)
class InTurn:
    """All operations of `operations` ("crop+flip") on each batch, one after another, with own parameters per image."""

    operations: str
    ranges: DSARanges = field(default_factory=DSARanges)

    def __post_init__(self) -> None:
        for name in self.operations.split("+"):
            parse(name)

    def __call__(self, images: Images, generator: torch.Generator) -> Images:
        """`images` [n, C, H, W] after each operation, with fresh draws."""
        for name in self.operations.split("+"):
            images = DSA(name, self.ranges)(images, generator)
        return images


def named(strategy: str, ranges: DSARanges | None = None) -> Augment:
    """The augmentation that `strategy` names, by default within DSA's ranges. Raises UnknownName for an unknown name.

    `crop_flip`: one of the two on each batch (DSA). `crop+flip`: both on each batch.
    """
    ranges = ranges or DSARanges()
    return InTurn(strategy, ranges) if "+" in strategy else DSA(strategy, ranges)


def within(strategy: str, allowed: str) -> str | None:
    """The operations of `strategy` that the DSA strategy `allowed` has too; None if there are none."""
    sign = "+" if "+" in strategy else "_"
    kept = [name for name in strategy.split(sign) if name in parse(allowed)]
    return sign.join(kept) or None
