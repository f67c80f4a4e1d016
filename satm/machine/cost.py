"""The cost of a forward pass of a network: arithmetic and memory."""

from __future__ import annotations

import torch
from torch import nn


def forward_cost(network: nn.Module, image_shape: tuple[int, int, int]) -> tuple[float, int]:
    """Return the cost of a forward pass of one image with the shape (C, H, W): (floating-point operations, bytes).

    The bytes are those of the tensors that the forward pass saves for the backward pass, without the parameters.
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
    del output  # kept until here: if tensors were freed earlier, two could have the same address and count as one
    return float(counter.get_total_flops()), sum(saved.values())


def blank_image(network: nn.Module, image_shape: tuple[int, int, int]) -> torch.Tensor:
    """Return zeros [1, C, H, W] with the dtype and on the device of the network's parameters."""
    return next(network.parameters()).new_zeros(1, *image_shape)
