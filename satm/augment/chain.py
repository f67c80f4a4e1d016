"""Makes augmentations from their names: one operation for each batch (DSA), or several operations one after another."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from satm.augment.dsa import DSA, parse
from satm.augment.operations import DSARanges
from satm.types import Augment, Images


@dataclass(frozen=True, slots=True)
class InTurn:
    """An augmentation that applies several operations to each batch, one after another.

    `operations` joins their names by plus signs ("crop+flip"). A part can be a DSA strategy, of which one operation is
    drawn for each batch: "flip+crop_scale". Each image gets its own random parameters.
    """

    operations: str
    ranges: DSARanges = field(default_factory=DSARanges)

    def __post_init__(self) -> None:
        for name in self.operations.split("+"):
            parse(name)

    def __call__(self, images: Images, generator: torch.Generator) -> Images:
        """Return `images` [n, C, H, W] after all operations, with newly drawn parameters."""
        for name in self.operations.split("+"):
            images = DSA(name, self.ranges)(images, generator)
        return images


def named(strategy: str, ranges: DSARanges | None = None) -> Augment:
    """Return the augmentation that `strategy` names. Its parameters are drawn from `ranges`; None: those of DSA.

    `crop_flip` applies one of the two operations to each batch, as in DSA. `crop+flip` applies both to each batch.
    `flip+crop_scale` applies flip, and then one of the other two.
    Raises UnknownName for an unknown operation.
    """
    ranges = ranges or DSARanges()
    return InTurn(strategy, ranges) if "+" in strategy else DSA(strategy, ranges)


def within(strategy: str, allowed: str) -> str | None:
    """Keep the operations of `strategy` that are also in the DSA strategy `allowed`; None if no operation remains."""
    names = parse(allowed)
    kept = ["_".join(name for name in part.split("_") if name in names) for part in strategy.split("+")]
    return "+".join(part for part in kept if part) or None
