"""ConvNet: the network with which most papers condense, its names, and its depth for each image size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F

from satm.errors import ConfigError
from satm.machine.compilation import compiling
from satm.networks.base import NETWORKS, Fit, Network, Shape, sides
from satm.networks.batchnorm import batch_normed
from satm.types import Images

DEPTHS = (3, 4, 5)  # the depths that have an entry in `NETWORKS`
WIDTH = 128  # the number of channels of the ConvNet in the papers


class ConvNet(nn.Module):
    """`depth` blocks of [3×3 convolution, instance norm, ReLU, 2×2 average pooling], then one linear layer.

    The input is images [n, in_chans, *img_size], and the output logits [n, num_classes]. `width` is the number of
    channels C of each block. The instance norm is GroupNorm(C, C) with scale and shift. It has no running statistics,
    so the parameters are the whole state of the network. The first convolution pads sides of 28 pixels to 32. Raises
    ConfigError if the images are too small for `depth` poolings.
    Source: ConvNet in networks.py of MTT's code with "instancenorm" and "avgpooling" (docs/field.md).
    """

    def __init__(
        self, depth: int, *, width: int = WIDTH, num_classes: int, in_chans: int, img_size: tuple[int, int]
    ) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        channels, padding = in_chans, (_first_padding(img_size[0]), _first_padding(img_size[1]))
        for _ in range(depth):
            blocks.append(_Block(channels, width, padding))
            channels, padding = width, (1, 1)
        self.features = nn.Sequential(*blocks)
        rows, columns = feature_size(depth, img_size)
        self.classifier = nn.Linear(width * rows * columns, num_classes)

    def forward(self, images: Images) -> torch.Tensor:
        """The logits [n, num_classes] of `images`."""
        logits: torch.Tensor = self.classifier(self.features(images).flatten(1))
        return logits

    def maps(self, images: Images) -> list[torch.Tensor]:
        """The maps [n, C, h, w] of `images`: of each block before its pooling, and last those of the pooled last block.

        The last maps, flattened, are the features (the input of the linear layer).
        """
        found, x = [], images
        for block in self.features:
            assert isinstance(block, _Block)
            found.append(block.mapped(x))
            x = F.avg_pool2d(found[-1], 2)
        return [*found, x]


class _Block(nn.Module):
    """One block: convolution, instance norm, ReLU and average pooling.

    Uncompiled code calls torch's own kernels for all four. Under `torch.compile`, the norm, the ReLU and the pooling
    are computed by plain arithmetic on a tensor of shape [n, H/2, 2, W/2, 2, C]. The channels are the last axis, so
    that the compiled code is vectorised. Each 2×2 cell that is pooled has two axes of its own, so that the derivative
    of its mean needs no index arithmetic. This takes 0.6 of the time that torch's kernels take if they are compiled.
    """

    def __init__(self, in_channels: int, channels: int, padding: tuple[int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel_size=3, padding=padding)
        self.norm = nn.GroupNorm(channels, channels)

    def mapped(self, x: torch.Tensor) -> torch.Tensor:
        """The output [n, channels, H, W] of the ReLU for the input `x` [n, in_channels, H, W]."""
        return F.relu(self.norm(self.conv(x)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The output [n, channels, H/2, W/2] of the block for the input `x` [n, in_channels, H, W]."""
        if not (compiling() and isinstance(self.norm, nn.GroupNorm)):
            return F.avg_pool2d(self.mapped(x), 2)
        last = torch.channels_last
        x = F.conv2d(
            x.contiguous(memory_format=last),
            self.conv.weight.contiguous(memory_format=last),
            self.conv.bias,
            padding=self.conv.padding,
        )
        n, channels, height, width = x.shape
        if height % 2 or width % 2:  # the pooling drops the last row or column, but the norm uses it
            return F.avg_pool2d(F.relu(self.norm(x)), 2)
        cells = x.permute(0, 2, 3, 1).reshape(n, height // 2, 2, width // 2, 2, channels)
        centred = cells - cells.mean((1, 2, 3, 4), keepdim=True)
        scale = torch.rsqrt(centred.square().mean((1, 2, 3, 4), keepdim=True) + self.norm.eps) * self.norm.weight
        return F.relu(centred * scale + self.norm.bias).mean((2, 4)).permute(0, 3, 1, 2)


def feature_size(depth: int, img_size: tuple[int, int]) -> tuple[int, int]:
    """The numbers of rows and columns of the maps after `depth` poolings.

    Raises ConfigError if no row or no column is left.
    """
    padded = [side + 2 * (_first_padding(side) - 1) for side in img_size]
    rows, columns = (side >> depth for side in padded)
    if not (rows and columns):
        fits = min(padded).bit_length() - 1
        remedy = f"use convnet{fits}" if fits >= 3 else "no ConvNet takes less than 8×8: enlarge the images"
        raise ConfigError(
            f"convnet{depth} halves its images {depth} times and needs sides of {1 << depth} pixels or more, "
            f"got {img_size[0]}×{img_size[1]}; {remedy}"
        )
    return rows, columns


def _first_padding(side: int) -> int:
    return 3 if side == 28 else 1


def convnet_name(depth: int, width: int, norm: Literal["", "bn"] = "") -> str:
    """The name of a ConvNet, such as `convnet3` or `convnetbn3_w32`.

    `norm` is "bn" for batch norm, and "" for instance norm. Raises ConfigError if there is no such network.
    """
    if depth not in DEPTHS or width < 1:
        raise ConfigError(f"ConvNet of depth {depth} and width {width}: expected depth 3, 4 or 5 and width 1 or more")
    return f"convnet{norm}{depth}" if width == WIDTH else f"convnet{norm}{depth}_w{width}"


def convnet_depth(image_size: int) -> int:
    """The usual depth for images of `image_size` pixels a side: 3 up to 32, 4 up to 64, 5 above (paper A.8)."""
    return 3 if image_size <= 32 else 4 if image_size <= 64 else 5


def _build(depth: int) -> Callable[..., nn.Module]:
    """The function `Network.build` of a ConvNet of this depth.

    The default of `img_size` is the largest size for which this depth is usual: 32, 64 or 128 pixels a side for a depth
    of 3, 4 or 5.
    """

    def build(*, img_size: int | Sequence[int] = 8 << (depth - 1), **options: Any) -> nn.Module:
        rows, columns = (img_size, img_size) if isinstance(img_size, int) else img_size
        return ConvNet(depth, img_size=(rows, columns), **options)

    return build


def _fit(depth: int) -> Callable[[Shape], Fit]:
    """The function `Network.fit` of a ConvNet of this depth. The network is built for the size of the images."""

    def fit(shape: Shape) -> Fit:
        channels, height, width = shape
        feature_size(depth, (height, width))
        return Fit({"in_chans": channels, "img_size": sides((height, width))})

    return fit


NETWORKS.add(
    Network(
        name="convnet3",
        summary="ConvNet of 3 blocks with instance norm, the field's for sides up to 32; convnet3_w32 has 32 channels",
        cite=("gidaris2018convnet",),
        build=_build(3),
        fit=_fit(3),
        width=WIDTH,
        twin="convnetbn3",
    )
)
NETWORKS.add(
    Network(
        name="convnetbn3",
        summary="convnet3 with batch norm in place of instance norm",
        cite=("gidaris2018convnet",),
        build=batch_normed(_build(3)),
        fit=_fit(3),
        width=WIDTH,
    )
)
NETWORKS.add(
    Network(
        name="convnet4",
        summary="ConvNet of 4 blocks with instance norm, for sides up to 64; convnet4_w32 has 32 channels",
        cite=("gidaris2018convnet",),
        build=_build(4),
        fit=_fit(4),
        width=WIDTH,
        twin="convnetbn4",
    )
)
NETWORKS.add(
    Network(
        name="convnetbn4",
        summary="convnet4 with batch norm in place of instance norm",
        cite=("gidaris2018convnet",),
        build=batch_normed(_build(4)),
        fit=_fit(4),
        width=WIDTH,
    )
)
NETWORKS.add(
    Network(
        name="convnet5",
        summary="ConvNet of 5 blocks with instance norm, for larger images; convnet5_w32 has 32 channels",
        cite=("gidaris2018convnet",),
        build=_build(5),
        fit=_fit(5),
        width=WIDTH,
        twin="convnetbn5",
    )
)
NETWORKS.add(
    Network(
        name="convnetbn5",
        summary="convnet5 with batch norm in place of instance norm",
        cite=("gidaris2018convnet",),
        build=batch_normed(_build(5)),
        fit=_fit(5),
        width=WIDTH,
    )
)
