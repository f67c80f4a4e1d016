"""The cost of a forward pass of a network: arithmetic and memory."""

from __future__ import annotations

import torch
from torch import nn


def forward_cost(network: nn.Module, image_shape: tuple[int, int, int]) -> tuple[float, int]:
    """The cost of a forward pass of one image [C, H, W]: (floating-point operations, bytes).

    The bytes are those that the pass saves for its backward pass.
    """
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
    del output  # kept until here: two tensors at one freed address would be counted as one
    return float(counter.get_total_flops()), sum(saved.values())


def blank_image(network: nn.Module, image_shape: tuple[int, int, int]) -> torch.Tensor:
    """Zeros [1, C, H, W] of the parameters' dtype, on their device."""
    return next(network.parameters()).new_zeros(1, *image_shape)
