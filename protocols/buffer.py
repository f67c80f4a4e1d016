"""Which images of a memory are held after each step: all that have arrived, or a buffer of fixed size."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from satm.errors import ConfigError


def check_buffer(size: int, num_classes: int) -> None:
    """Raise ConfigError for a buffer that does not hold one image of each class at the end."""
    if size < num_classes:
        raise ConfigError(
            f"buffer {size}: less than one image for each of {num_classes} classes; take {num_classes} or more"
        )


def quota(size: int, seen: int, rank: int) -> int:
    """Images of one class in a buffer of `size` M images when n = `seen` classes have arrived: ⌈(M − rank) / n⌉.

    `rank` counts the classes in order of arrival, from 0. The quotas of the n classes add up to M, differ by at most
    one, and never grow when classes arrive.
    """
    return -((rank - size) // seen)


def held(arriving: Sequence[torch.Tensor], size: int | None, each: int = 1) -> list[torch.Tensor]:
    """For each step, the positions [m] int64 of the images held after it, among all images that arrived until then.

    Args:
        arriving: for each step, the classes [n] int64 of its images in the order of arrival.
        size: M, the images that the buffer holds from the start; None: every image that arrives is kept. Of each class
            the first `quota` images are kept, so a class with fewer leaves a part of the buffer empty.
        each: how many images that follow one another come from one stored image. M counts the stored ones.
    """
    if each > 1:
        stored = held([classes[::each] for classes in arriving], size)
        return [(found.unsqueeze(1) * each + torch.arange(each)).flatten() for found in stored]
    order = [label for classes in arriving for label in sorted(set(classes.tolist()))]
    kept = []
    for step in range(len(arriving)):
        classes = torch.cat(list(arriving[: step + 1]))
        positions = torch.arange(len(classes))
        if size is not None:
            seen = len(set(classes.tolist()))
            first = [positions[classes == label][: quota(size, seen, rank)] for rank, label in enumerate(order[:seen])]
            positions = torch.cat(first).sort().values
        kept.append(positions)
    return kept
