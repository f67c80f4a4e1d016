"""Makes a network with batch normalisation from a network with instance normalisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn


def batch_normed(build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """A function like `build` that returns the same network with each GroupNorm(C, C) replaced by BatchNorm2d(C).

    GroupNorm(C, C) is instance norm for C channels. Both norms start with scale 1 and shift 0, so with the same seed
    both networks start from the same weights. The network with batch norm has running statistics, so its output depends
    on more than its parameters and its input. Therefore it can only evaluate a set and not condense one, and it is
    trained uncompiled.
    Source: networks.py of MTT's code with norm="batchnorm" (ConvNetBN, ResNet18BN, VGG11BN; docs/field.md).
    """

    def build_twin(**options: Any) -> nn.Module:
        return _replace_norms(build(**options))

    return build_twin


def _replace_norms(network: nn.Module) -> nn.Module:
    for name, child in network.named_children():
        if isinstance(child, nn.GroupNorm):
            setattr(network, name, nn.BatchNorm2d(child.num_channels))
        else:
            _replace_norms(child)
    return network
