"""The cost of a forward pass of a network: arithmetic and memory."""

from __future__ import annotations

import torch
from torch import nn


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
