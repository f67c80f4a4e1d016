"""Cuts a batch into pieces that are so small that a CPU's caches hold the activations of one piece."""

from __future__ import annotations

import torch
from torch import nn

from satm.machine.cost import forward_cost
from satm.machine.purity import independent

CACHE = 24e6  # bytes that the saved activations of a piece may take: most of the cache that a CPU's cores share
# The smallest result of `images_at_once`. So no piece has a single image (`satm.machine.fused` runs such a batch
# uncompiled), and there are not so many pieces that adding their gradients takes long.
FEWEST = 4


def images_at_once(network: nn.Module, image_shape: tuple[int, int, int]) -> int | None:
    """Return how many images to differentiate together on a CPU, so that the saved activations stay in its caches.

    A batch that is cut into pieces takes the RAM of one piece, and not more time (docs/engine.md). The result is None
    if batches must not be cut: on a device other than a CPU, or if the logits of an image depend on the other images of
    its batch (batch normalisation) or on random numbers (dropout).
    """
    if next(network.parameters()).device.type != "cpu" or not independent(network, image_shape):
        return None
    # Each piece reads all parameters and adds a gradient of their size. If they are larger than the cache, a piece may
    # have as many bytes of activations, because smaller pieces would only repeat this work more often.
    parameters = sum(p.nbytes for p in network.parameters())
    return max(FEWEST, int(max(CACHE, parameters) / forward_cost(network, image_shape)[1]))


def pieces(
    at_once: int | None, images: torch.Tensor, labels: torch.Tensor
) -> list[tuple[float, torch.Tensor, torch.Tensor]]:
    """Cut a batch into parts of at most `at_once` images. Returns (share of the batch, images, labels) of each part.

    If `at_once` is None, the batch is one part. All parts have the same size if a size between `at_once`/2 and
    `at_once` divides the batch. Otherwise the parts have two sizes, and code is compiled for both. The mean of a value
    over the batch is the sum over the parts of share × mean over the part.
    """
    n = len(images)
    if at_once is None or n <= at_once:
        return [(1.0, images, labels)]
    even = next((size for size in range(at_once, (at_once - 1) // 2, -1) if n % size == 0), None)
    count = -(-n // at_once) if even is None else n // even
    parts = zip(images.tensor_split(count), labels.tensor_split(count), strict=True)
    return [(len(x) / n, x, y) for x, y in parts]
