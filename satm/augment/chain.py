"""Augmentations by name: one operation a batch, as DSA, or several in turn."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from satm.augment.dsa import DSA, parse
from satm.types import Augment, Images


@dataclass(frozen=True, slots=True)
class InTurn:
    """Every operation of `operations` ("crop+flip") on every batch, one after another, its parameters per image."""

    operations: str

    def __post_init__(self) -> None:
        for name in self.operations.split("+"):
            parse(name)

    def __call__(self, images: Images, generator: torch.Generator) -> Images:
        """`images` [n, C, H, W] under fresh draws."""
        for name in self.operations.split("+"):
            images = DSA(name)(images, generator)
        return images


def named(strategy: str) -> Augment:
    """`crop_flip`: one of them a batch (DSA). `crop+flip`: both on every batch. Raises UnknownName."""
    return InTurn(strategy) if "+" in strategy else DSA(strategy)


def within(strategy: str, allowed: str) -> str | None:
    """The operations of `strategy` that are in the DSA strategy `allowed` too; None when none is."""
    sign = "+" if "+" in strategy else "_"
    kept = [name for name in strategy.split(sign) if name in parse(allowed)]
    return sign.join(kept) or None
