"""The last linear layer of a network, and the network that computes its features: the input of this layer.

It can also compute logits and features in one pass, and make the network that computes the outputs of several layers
of a ConvNet.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from satm.errors import ConfigError
from satm.networks.convnet import ConvNet
from satm.types import Images


def features(network: nn.Module) -> nn.Module:
    """A copy of `network` without its last linear layer. It computes features [n, D] from images [n, C, H, W].

    The parameters of the copy are those of the other layers, in the same order. Raises ConfigError if `network` has no
    linear layer.
    """
    embedding = copy.deepcopy(network)
    parent, _, child = _last_name(network).rpartition(".")
    setattr(embedding.get_submodule(parent), child, nn.Identity())
    return embedding


def with_features(network: nn.Module, images: Images) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits [n, K] of `images` [n, C, H, W] and their features [n, D], from one forward pass of `network`.

    Raises ConfigError if `network` has no linear layer.
    """
    found: list[torch.Tensor] = []
    handle = last_linear(network).register_forward_pre_hook(lambda layer, inputs: found.append(inputs[0]))
    try:
        logits = network(images)
    finally:
        handle.remove()
    return logits, found[0]


class LayerFeatures(nn.Module):
    """`network`, a ConvNet, as the network that computes the outputs of its last layers from images [n, C, H, W].

    These layers are the ReLU of each of the last `blocks` blocks, and the last pooling. The output [n, D] has their
    maps, flattened and joined, the first layer first. The parameters are those of `network`, in the same order. Raises
    ConfigError if `network` is not a ConvNet.
    """

    def __init__(self, network: nn.Module, blocks: int) -> None:
        super().__init__()
        if not isinstance(network, ConvNet):
            raise ConfigError(f"{type(network).__name__} is no ConvNet, of whose blocks the maps are known")
        self.network, self.layers = network, blocks + 1

    def maps(self, images: Images) -> list[torch.Tensor]:
        """The map [n, C, h, w] of each of these layers."""
        maps: list[torch.Tensor] = self.network.maps(images)[-self.layers :]
        return maps

    def forward(self, images: Images) -> torch.Tensor:
        """The maps of all these layers, [n, D]."""
        return torch.cat([each.flatten(1) for each in self.maps(images)], dim=1)


def last_linear(network: nn.Module) -> nn.Linear:
    """The last linear layer of `network`, which computes the logits. Raises ConfigError if there is no linear layer."""
    layer = network.get_submodule(_last_name(network))
    assert isinstance(layer, nn.Linear)
    return layer


def _last_name(network: nn.Module) -> str:
    linear: list[str] = [name for name, module in network.named_modules() if isinstance(module, nn.Linear) and name]
    if not linear:
        raise ConfigError(f"{type(network).__name__} has no linear layer to take off; features need one at its end")
    return linear[-1]
