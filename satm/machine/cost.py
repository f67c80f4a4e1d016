"""What a forward pass of a network costs, and how a batch is cut so that a CPU's caches hold it."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn

CACHE = 24e6  # bytes of saved activations that are worked on at once on a CPU: most of what its cores share
FEWEST = 4  # images a piece at least: a batch of one is never compiled, and every piece has a gradient to add


def forward_cost(network: nn.Module, image_shape: tuple[int, int, int]) -> tuple[float, int]:
    """Floating-point operations of a forward pass of one image, and the bytes it saves for its backward pass."""
    from torch.utils.flop_counter import FlopCounterMode

    weights = {p.data_ptr() for p in network.parameters()}
    saved: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in weights:
            saved[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with (
        torch.random.fork_rng(),
        FlopCounterMode(display=False) as counter,
        torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
    ):
        output = network.train()(blank_image(network, image_shape))
    del output  # held until here: a freed tensor's address would be counted once for two
    return float(counter.get_total_flops()), sum(saved.values())


def blank_image(network: nn.Module, image_shape: tuple[int, int, int]) -> torch.Tensor:
    """Zeros [1, C, H, W] of the parameters' kind, where they are."""
    return next(network.parameters()).new_zeros(1, *image_shape)


def images_at_once(network: nn.Module, image_shape: tuple[int, int, int]) -> int | None:
    """How many images a CPU differentiates at once, so that what is saved for it stays in its caches.

    A batch then takes the memory of a piece, and no more time (docs/engine.md). None: it is not cut, on other devices
    and where its images depend on each other (batch normalisation) or on chance.
    """
    if next(network.parameters()).device.type != "cpu" or not _independent(network, image_shape):
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


@torch.no_grad()
def _independent(network: nn.Module, image_shape: tuple[int, int, int]) -> bool:
    """Whether each image's logits are the same whatever else is in its batch."""
    like = next(network.parameters())
    images = torch.rand(2, *image_shape, generator=torch.Generator().manual_seed(0)).to(like)
    with torch.random.fork_rng():
        copy = deepcopy(network).train()  # running statistics would be changed
        try:
            apart = torch.cat([copy(images[:1]), copy(images[1:])])
        except ValueError:  # batch normalisation refuses a single value a channel
            return False
        return torch.allclose(copy(images), apart, rtol=1e-3, atol=1e-5)
