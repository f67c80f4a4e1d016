"""How a batch is cut into pieces, so that a CPU's caches hold what is saved for one of them."""

from __future__ import annotations

import torch
from torch import nn

from satm.machine.cost import forward_cost
from satm.machine.purity import independent

CACHE = 24e6  # bytes of saved activations that are worked on at once on a CPU: most of what its cores share
FEWEST = 4  # images a piece at least: a batch of one is never compiled, and every piece has a gradient to add


def images_at_once(network: nn.Module, image_shape: tuple[int, int, int]) -> int | None:
    """How many images a CPU differentiates at once, so that what is saved for it stays in its caches.

    A batch then takes the memory of a piece, and no more time (docs/engine.md). None: it is not cut, on other devices
    and where its images depend on each other (batch normalisation) or on chance.
    """
    if next(network.parameters()).device.type != "cpu" or not independent(network, image_shape):
        return None
    parameters = sum(p.nbytes for p in network.parameters())  # what every piece reads, and adds its gradient to
    return max(FEWEST, int(max(CACHE, parameters) / forward_cost(network, image_shape)[1]))


def pieces(
    at_once: int | None, images: torch.Tensor, labels: torch.Tensor
) -> list[tuple[float, torch.Tensor, torch.Tensor]]:
    """A batch cut into parts of at most `at_once` images: (share of the batch, images, labels) of each.

    All are of one size where a size of at least half as many divides the batch, else of two: compiled code is made for
    each. A mean over the batch is the sum over parts of share × the part's mean.
    """
    n = len(images)
    if at_once is None or n <= at_once:
        return [(1.0, images, labels)]
    even = next((size for size in range(at_once, (at_once - 1) // 2, -1) if n % size == 0), None)
    count = -(-n // at_once) if even is None else n // even
    parts = zip(images.tensor_split(count), labels.tensor_split(count), strict=True)
    return [(len(x) / n, x, y) for x, y in parts]
