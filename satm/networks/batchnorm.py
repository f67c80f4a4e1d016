"""The field's networks with batch normalisation in place of instance norm."""

from __future__ import annotations

from torch import nn


def with_batch_norm(network: nn.Module) -> nn.Module:
    """`network`, every GroupNorm(C, C) of it replaced in place by BatchNorm2d(C).

    Both start as the identity's scale and shift, so that a network and its twin start from the same weights. Running
    statistics are buffers: such a network is evaluated on, not condensed with, and is trained uncompiled.
    Source: MTT networks.py's norm="batchnorm" (ConvNetBN, ResNet18BN, VGG11BN; field notes §2.9).
    """
    for name, child in network.named_children():
        if isinstance(child, nn.GroupNorm):
            setattr(network, name, nn.BatchNorm2d(child.num_channels))
        else:
            with_batch_norm(child)
    return network
