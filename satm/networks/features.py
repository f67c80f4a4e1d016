"""The last linear layer of a network, and the network that computes its features: the input of this layer."""

from __future__ import annotations

import copy

from torch import nn

from satm.errors import ConfigError


def features(network: nn.Module) -> nn.Module:
    """A copy of `network` without its last linear layer. It computes features [n, D] from images [n, C, H, W].

    The parameters of the copy are those of the other layers, in the same order. Raises ConfigError if `network` has no
    linear layer.
    """
    embedding = copy.deepcopy(network)
    parent, _, child = _last_name(network).rpartition(".")
    setattr(embedding.get_submodule(parent), child, nn.Identity())
    return embedding


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
