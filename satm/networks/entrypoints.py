"""The field's networks in timm's registry: after this import, `timm.create_model("dd_convnet3", num_classes=10)` works.

The prefix `dd_` keeps clear of timm's own vgg11 and resnet18, which are other networks.
"""

from __future__ import annotations

from typing import Any

from timm.models import register_model
from torch import nn

from satm.errors import ConfigError
from satm.networks.alexnet import AlexNet
from satm.networks.batchnorm import with_batch_norm
from satm.networks.convnet import ConvNet
from satm.networks.resnet import ResNet18
from satm.networks.vgg import VGG11

# timm needs a list; it holds what timm may create
__all__ = [
    "dd_alexnet",
    "dd_convnet3",
    "dd_convnet4",
    "dd_convnet5",
    "dd_convnetbn3",
    "dd_convnetbn4",
    "dd_convnetbn5",
    "dd_resnet18",
    "dd_resnet18bn",
    "dd_vgg11",
    "dd_vgg11bn",
]


def dd_convnet3(pretrained: bool = False, **options: Any) -> nn.Module:
    """ConvNet of depth 3, the field's for 32×32; `width` and `img_size` are its options beside timm's usual ones."""
    return _convnet(3, pretrained, options)


def dd_convnet4(pretrained: bool = False, **options: Any) -> nn.Module:
    """ConvNet of depth 4, the field's for 64×64."""
    return _convnet(4, pretrained, options)


def dd_convnet5(pretrained: bool = False, **options: Any) -> nn.Module:
    """ConvNet of depth 5, the field's for 128×128."""
    return _convnet(5, pretrained, options)


def dd_alexnet(pretrained: bool = False, **options: Any) -> nn.Module:
    """The field's AlexNet."""
    return AlexNet(**_options("dd_alexnet", pretrained, options))


def dd_vgg11(pretrained: bool = False, **options: Any) -> nn.Module:
    """The field's VGG11."""
    return VGG11(**_options("dd_vgg11", pretrained, options))


def dd_resnet18(pretrained: bool = False, **options: Any) -> nn.Module:
    """The field's ResNet18."""
    return ResNet18(**_options("dd_resnet18", pretrained, options))


def dd_convnetbn3(pretrained: bool = False, **options: Any) -> nn.Module:
    """ConvNet of depth 3 with batch normalisation."""
    return with_batch_norm(dd_convnet3(pretrained, **options))


def dd_convnetbn4(pretrained: bool = False, **options: Any) -> nn.Module:
    """ConvNet of depth 4 with batch normalisation."""
    return with_batch_norm(dd_convnet4(pretrained, **options))


def dd_convnetbn5(pretrained: bool = False, **options: Any) -> nn.Module:
    """ConvNet of depth 5 with batch normalisation."""
    return with_batch_norm(dd_convnet5(pretrained, **options))


def dd_vgg11bn(pretrained: bool = False, **options: Any) -> nn.Module:
    """The field's VGG11 with batch normalisation."""
    return with_batch_norm(dd_vgg11(pretrained, **options))


def dd_resnet18bn(pretrained: bool = False, **options: Any) -> nn.Module:
    """The field's ResNet18 with batch normalisation."""
    return with_batch_norm(dd_resnet18(pretrained, **options))


def _convnet(depth: int, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    options = _options(f"dd_convnet{depth}", pretrained, options)
    size = options.pop("img_size", 8 << (depth - 1))
    return ConvNet(depth, img_size=(size, size) if isinstance(size, int) else tuple(size), **options)


def _options(name: str, pretrained: bool, options: dict[str, Any]) -> dict[str, Any]:
    """Options of the network alone: timm hands every entry point its bookkeeping about pretrained weights too."""
    if pretrained:
        raise ConfigError(f"{name} has no pretrained weights; create it with pretrained=False")
    bookkeeping = {"pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"}
    return {"num_classes": 10, "in_chans": 3} | {k: v for k, v in options.items() if k not in bookkeeping}


for entry in __all__:
    register_model(globals()[entry])
