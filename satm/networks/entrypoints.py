"""Registers the networks of this suite with timm.

After an import of this module, `timm.create_model("dd_convnet3", num_classes=10)` works. The names start with `dd_` in
timm, because timm has other networks called vgg11 and resnet18.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from timm.models import register_model
from torch import nn

from satm.errors import ConfigError
from satm.networks.base import NETWORKS, Network

__all__: list[str] = []  # `register_model` adds each registered name to this list of the module

_BOOKKEEPING = {"pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"}  # timm passes these, and ours do not use them


def _entry_point(network: Network) -> Callable[..., nn.Module]:
    """The function by which timm creates `network`.

    Its arguments are `num_classes` (10 by default) and `in_chans` (3 by default). A ConvNet also has `width` and
    `img_size`.
    """

    def create(pretrained: bool = False, **options: Any) -> nn.Module:
        if pretrained:
            raise ConfigError(f"{create.__name__} has no pretrained weights; create it with pretrained=False")
        chosen = {name: value for name, value in options.items() if name not in _BOOKKEEPING}
        return network.build(**{"num_classes": 10, "in_chans": 3} | chosen)

    create.__name__ = f"dd_{network.name}"
    return create


for _name in NETWORKS.known():
    register_model(_entry_point(NETWORKS.get(_name)))
