"""Checks whether the output of a network depends only on its parameters and images.

It also checks whether the output for an image depends on the other images of its batch.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn


def obstacle(network: nn.Module, image_shape: tuple[int, int, int]) -> str | None:
    """Return why the output of `network` depends on more than its parameters and images; None if it does not.

    Such reasons are buffers (batch normalisation) and random numbers (dropout).
    """
    if next(network.buffers(), None) is not None:
        return "the network has buffers (batch normalisation)"
    like = next(network.parameters())
    images = torch.zeros(2, *image_shape, device=like.device, dtype=like.dtype)
    drawn = draws_random_numbers(deepcopy(network), images)
    return "the network draws random numbers (dropout)" if drawn else None


def draws_random_numbers(network: nn.Module, images: torch.Tensor) -> bool:
    """Whether a training pass of `images` draws random numbers, as dropout does.

    Afterwards torch's random state is the same as before.
    """
    device = images.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.no_grad():
        before = _streams(device)
        network.train()(images)
        return any(not torch.equal(a, b) for a, b in zip(before, _streams(device), strict=True))


@torch.no_grad()
def independent(network: nn.Module, image_shape: tuple[int, int, int]) -> bool:
    """Whether the logits of an image do not depend on the other images of its batch (up to round-off)."""
    like = next(network.parameters())
    images = torch.rand(2, *image_shape, generator=torch.Generator().manual_seed(0)).to(like)
    with torch.random.fork_rng():
        copy = deepcopy(network).train()  # a copy: the pass would change running statistics
        try:
            apart = torch.cat([copy(images[:1]), copy(images[1:])])
        except ValueError:  # batch normalisation refuses a batch with one value per channel
            return False
        return torch.allclose(copy(images), apart, rtol=1e-3, atol=1e-5)


def _streams(device: torch.device) -> list[torch.Tensor]:
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]
