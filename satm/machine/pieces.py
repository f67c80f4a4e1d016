"""Cuts a batch into pieces that are so small that a CPU's caches hold the activations of one piece."""

from __future__ import annotations

import torch
from torch import nn

from satm.machine.cost import forward_cost
from satm.machine.purity import independent

CACHE = 24e6  # bytes of saved activations of one piece: most of the cache that a CPU's cores share
FEWEST = 4  # images of a piece, at least: a batch of one is never compiled, and each piece adds its own gradient


def images_at_once(network: nn.Module, image_shape: tuple[int, int, int]) -> int | None:
    """How many images to differentiate together on a CPU, so that the saved activations stay in its caches.

    A batch then takes the RAM of one piece, and no more time (docs/engine.md). The result is None if the batch is not
    to be cut: on other devices, or if the logits of an image depend on the other images (batch normalisation) or on
    chance.
    """
    if next(network.parameters()).device.type != "cpu" or not independent(network, image_shape):
        return None
    parameters = sum(p.nbytes for p in network.parameters())  # each piece reads them and adds a gradient as large
    return max(FEWEST, int(max(CACHE, parameters) / forward_cost(network, image_shape)[1]))


def pieces(
    at_once: int | None, images: torch.Tensor, labels: torch.Tensor
) -> list[tuple[float, torch.Tensor, torch.Tensor]]:
    """A batch cut into parts of at most `at_once` images: (share of the batch, images, labels) of each.

    All parts have one size if a size between `at_once`/2 and `at_once` divides the batch. Otherwise they have two
    sizes, and code is compiled for each. A mean over the batch is the sum over the parts of share × the part's mean.
    """
    n = len(images)
    if at_once is None or n <= at_once:
        return [(1.0, images, labels)]
    even = next((size for size in range(at_once, (at_once - 1) // 2, -1) if n % size == 0), None)
    count = -(-n // at_once) if even is None else n // even
    parts = zip(images.tensor_split(count), labels.tensor_split(count), strict=True)
    return [(len(x) / n, x, y) for x, y in parts]
