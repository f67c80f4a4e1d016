"""The field's networks with batch normalisation in place of instance norm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn


def batch_normed(build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """`build` with every GroupNorm(C, C) of its network replaced by BatchNorm2d(C).

    Both norms start with scale 1 and shift 0, so a network and its twin start from the same weights. Running statistics
    are buffers. Such a network is used to evaluate a set, not to condense it, and is trained uncompiled.
    Source: MTT networks.py with norm="batchnorm" (ConvNetBN, ResNet18BN, VGG11BN; docs/field.md).
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
