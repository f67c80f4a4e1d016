"""Siamese augmentation by class: the real and the synthetic images of a class get the same operation.

The operation and its parameters are drawn once for each class, and then applied to both batches.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from satm.augment.dsa import Draw, apply, draw
from satm.errors import ShapeError
from satm.types import Images


def draw_per_class(
    strategy: str, classes: int, image_shape: tuple[int, int, int], generator: torch.Generator
) -> tuple[Draw, ...]:
    """Make one draw for each class. All images of a class share its draw (DSA, Algorithm 1: a new ω for each class)."""
    return tuple(draw(strategy, 1, image_shape, generator, shared=True) for _ in range(classes))


def apply_per_class(images: Images, draws: Sequence[Draw]) -> Images:
    """Return `images` [K, n, C, H, W], where the n images of class k are transformed by draw k.

    Classes with the same operation are transformed together, so each operation is called at most once. Raises
    ShapeError if the number of draws is not K.
    """
    if len(draws) != len(images):
        raise ShapeError(f"{len(draws)} draws for images of {len(images)} classes")
    n = images.shape[1]
    order: list[int] = []
    parts = []
    for op in dict.fromkeys(each.op for each in draws):
        members = [label for label, each in enumerate(draws) if each.op == op]
        values = {
            name: torch.cat([draws[label].values[name] for label in members]).repeat_interleave(n)
            for name in draws[members[0]].values
        }
        group = images[members]
        parts.append(apply(group.flatten(0, 1), Draw(op, values)).view(group.shape))
        order += members
    return torch.cat(parts)[torch.tensor(order, device=images.device).argsort()]
