"""Computes which images a memory holds after each incremental step.

A memory without a fixed size holds all images that have arrived. A memory of fixed size is called a buffer here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from satm.errors import ConfigError


def check_buffer(size: int, num_classes: int, domains: int = 1) -> None:
    """Raise ConfigError if a buffer of `size` images is too small for one image of each class of each domain.

    `domains` is the number of steps of a domain-incremental stream; 1 for a class-incremental stream.
    """
    least = num_classes * domains
    if size < least:
        each = f"{num_classes} classes" + (f" in {domains} domains" if domains > 1 else "")
        raise ConfigError(f"buffer {size}: less than one image for each of {each}; take {least} or more")


def quota(size: int, seen: int, rank: int) -> int:
    """The number of images of one class in a buffer of M = `size` images after n = `seen` classes have arrived.

    A class that arrives in several steps, as in a domain-incremental stream, counts as one class in each of them.

    It is ⌈(M − rank) / n⌉. `rank` is the position of the class in the order of arrival, counted from 0. The quotas of
    the n classes add up to M and differ by at most one. A quota never grows when more classes arrive.
    """
    return -((rank - size) // seen)


def held(arriving: Sequence[torch.Tensor], size: int | None, each: int = 1) -> list[torch.Tensor]:
    """For each step, the positions [m] int64 of the images that the memory holds after the step.

    The positions are counted among all images that have arrived until then, in the order of arrival.

    Args:
        arriving: for each step, the classes [n] int64 of the images that arrive.
        size: the number M of images in the buffer; None: every image is kept. The buffer keeps the first images of each
            class and step, as many as the function `quota` gives. If there are fewer images than the quota, a part of
            the buffer stays empty.
        each: the number of consecutive images that are made from one stored image. M is a number of stored images.
    """
    if each > 1:
        stored = held([classes[::each] for classes in arriving], size)
        return [(found.unsqueeze(1) * each + torch.arange(each)).flatten() for found in stored]
    arrived: list[torch.Tensor] = []  # for each class of each step so far, the positions of its images
    count, kept = 0, []
    for classes in arriving:
        arrived += [count + (classes == label).nonzero().flatten() for label in sorted(set(classes.tolist()))]
        count += len(classes)
        quotas = [count if size is None else quota(size, len(arrived), rank) for rank in range(len(arrived))]
        first = [positions[:most] for positions, most in zip(arrived, quotas, strict=True)]
        kept.append(torch.cat(first).sort().values)
    return kept
