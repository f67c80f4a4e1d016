"""Makes, from a network, the network that computes its features: the input of its last linear layer."""

from __future__ import annotations

import copy

from torch import nn

from satm.errors import ConfigError


def features(network: nn.Module) -> nn.Module:
    """A copy of `network` without its last linear layer. It computes features [n, D] from images [n, C, H, W].

    The parameters of the copy are those of the other layers, in the same order. Raises ConfigError if `network` has no
    linear layer.
    """
    linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear) and name]
    if not linear:
        raise ConfigError(f"{type(network).__name__} has no linear layer to take off; features need one at its end")
    embedding = copy.deepcopy(network)
    parent, _, child = linear[-1].rpartition(".")
    setattr(embedding.get_submodule(parent), child, nn.Identity())
    return embedding
