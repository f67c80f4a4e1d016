"""The six operations of DSA: how each operation draws its parameters, and how it transforms images [n, C, H, W].

A drawn parameter has the shape [n] and is on the CPU. `satm.augment.dsa.apply` passes it to the operation with the
shape [n, 1, 1, 1], on the device of the images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from satm.errors import ConfigError
from satm.types import Images


@dataclass(frozen=True, slots=True, kw_only=True)
class DSARanges:
    """The ranges from which the parameters of the operations are drawn. Raises ConfigError for an impossible range."""

    flip: float = 0.5  # the probability of a left-right flip
    scale: float = 1.2  # s: each axis is scaled by a factor in 1/s..s
    rotate: float = 15.0  # the largest angle in degrees, in either direction
    crop: float = 0.125  # the largest shift, as a fraction of the image's side
    cutout: float = 0.5  # the side of the hole, as a fraction of the image's side
    brightness: float = 1.0  # w: the number that is added to all pixels is in −w/2..w/2
    saturation: float = 2.0  # s: the factor on the difference between an image and its grey image is in 0..s
    contrast: float = 0.5  # c: the factor on the difference between an image and its mean is in c..c + 1

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("flip", self.flip, 0, 1),
            ("scale", self.scale, 1, math.inf),
            ("rotate", self.rotate, 0, 180),
            ("crop", self.crop, 0, 1),
            ("cutout", self.cutout, 0, 1),
            ("brightness", self.brightness, 0, math.inf),
            ("saturation", self.saturation, 0, math.inf),
            ("contrast", self.contrast, 0, math.inf),
        ):
            if not (math.isfinite(value) and low <= value <= high):
                raise ConfigError(f"augmentation range {name} {value}: expected {low} to {high}")


@dataclass(frozen=True, slots=True)
class Source:
    """Draws uniform random numbers for `n` images of `height` × `width` pixels."""

    n: int
    height: int
    width: int
    generator: torch.Generator

    def real(self, low: float, high: float) -> torch.Tensor:
        """Return [n] float64 random numbers in low..high."""
        return torch.rand(self.n, generator=self.generator, dtype=torch.float64) * (high - low) + low

    def whole(self, low: int, high: int) -> torch.Tensor:
        """Return [n] int64 random numbers in low..high, including both ends."""
        return torch.randint(low, high + 1, (self.n,), generator=self.generator)


def _round(x: float) -> int:
    return int(x + 0.5)  # rounds 2.5 to 3, as other code of the field does; Python's `round` gives the even number 2


def _draw_color(source: Source, ranges: DSARanges) -> dict[str, torch.Tensor]:
    return {
        "brightness": source.real(-ranges.brightness / 2, ranges.brightness / 2),
        "saturation": source.real(0, ranges.saturation),
        "contrast": source.real(ranges.contrast, ranges.contrast + 1),
    }


def _color(x: Images, *, brightness: torch.Tensor, saturation: torch.Tensor, contrast: torch.Tensor) -> Images:
    """Change the brightness, then the saturation, then the contrast of images `x`, in one affine map.

    Brightness adds b. Saturation multiplies the difference from the grey image by s. Contrast multiplies the difference
    from the mean by c. Together this is

    c (s (x + b) + (1 − s)(grey + b)) + (1 − c)(mean + b) = c s x + c (1 − s) grey + (1 − c) mean + b,

    Here `grey` is the mean over the channels of x, and `mean` is the mean over all channels and pixels of each image x.
    The mean after the first two steps is mean + b, because the saturation does not change the mean.
    """
    x = x.to(contrast.dtype)
    grey = x.mean(dim=1, keepdim=True)
    mean = grey.mean(dim=(2, 3), keepdim=True)
    return torch.addcmul(
        contrast * (1 - saturation) * grey + ((1 - contrast) * mean + brightness), x, contrast * saturation
    )


def _draw_crop(source: Source, ranges: DSARanges) -> dict[str, torch.Tensor]:
    down, right = _round(source.height * ranges.crop), _round(source.width * ranges.crop)
    return {"row": source.whole(-down, down), "column": source.whole(-right, right)}


def _crop(x: Images, *, row: torch.Tensor, column: torch.Tensor) -> Images:
    height, width = x.shape[2:]
    rows, columns = _pixels(x)
    rows, columns = rows + row, columns + column
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    index = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    return _look_up(x, index).view(x.shape) * inside


def _draw_cutout(source: Source, ranges: DSARanges) -> dict[str, torch.Tensor]:
    values: dict[str, torch.Tensor] = {}
    for axis, side in (("row", source.height), ("column", source.width)):
        hole = _round(side * ranges.cutout)
        # The centre of the hole may be any pixel of the image. A hole with an even side has no middle pixel. Its centre
        # is then the pixel right after the middle, and may also be number `side`, which is just outside the image.
        start = source.whole(0, side - hole % 2) - hole // 2
        values |= {axis: start, f"{axis}_end": start + hole}
    return values


def _cutout(
    x: Images, *, row: torch.Tensor, row_end: torch.Tensor, column: torch.Tensor, column_end: torch.Tensor
) -> Images:
    rows, columns = _pixels(x)
    hole = (rows >= row) & (rows < row_end) & (columns >= column) & (columns < column_end)
    return x * ~hole


def _draw_flip(source: Source, ranges: DSARanges) -> dict[str, torch.Tensor]:
    return {"flipped": source.real(0, 1) < ranges.flip}


def _flip(x: Images, *, flipped: torch.Tensor) -> Images:
    return torch.where(flipped, x.flip(3), x)


def _draw_scale(source: Source, ranges: DSARanges) -> dict[str, torch.Tensor]:
    return {"x": source.real(1 / ranges.scale, ranges.scale), "y": source.real(1 / ranges.scale, ranges.scale)}


def _scale(image: Images, *, x: torch.Tensor, y: torch.Tensor) -> Images:
    """Scale images by bilinear interpolation. All pixels outside the image count as zero.

    Each pixel at (column, row), counted from the centre, gets the value of the image at (x·column, y·row). Because the
    two axes are independent, this is one matrix product for each axis.
    """
    rows, columns = _centred(image, y.dtype)
    n, channels, height, width = image.shape
    down = _interpolation(y.view(-1, 1) * rows.view(-1) + (height - 1) / 2, height)
    along = _interpolation(x.view(-1, 1) * columns + (width - 1) / 2, width)
    wide = image.to(x.dtype).reshape(n, channels * height, width) @ along.mT
    return down.unsqueeze(1) @ wide.view(image.shape)


def _interpolation(position: torch.Tensor, size: int) -> torch.Tensor:
    """Return the weights [n, m, size] of `size` pixels in the linearly interpolated values at the positions [n, m].

    The pixels are at the positions 0 … size − 1, and further pixels outside count as zero. So less than one pixel
    outside the image only the weight of the outermost pixel is above 0, and further outside all weights are 0.
    """
    pixels = torch.arange(size, device=position.device, dtype=position.dtype)
    return (1 - (position.unsqueeze(-1) - pixels).abs()).clamp_min(0)


def _draw_rotate(source: Source, ranges: DSARanges) -> dict[str, torch.Tensor]:
    return {"radians": source.real(-math.radians(ranges.rotate), math.radians(ranges.rotate))}


def _rotate(x: Images, *, radians: torch.Tensor) -> Images:
    """Rotate images about their centre by bilinear interpolation. All pixels outside the image count as zero.

    The position of each pixel is rotated, and the pixel gets the image's value at the rotated position. The coordinates
    are those of torch's affine_grid: −1 to 1 between the centres of the outermost pixels. In these coordinates an image
    that is not square is also sheared a little, as in other code of the field. Both sides need at least 2 pixels.
    """
    height, width = x.shape[2:]
    rows, columns = _centred(x, radians.dtype)
    half_y, half_x = (height - 1) / 2, (width - 1) / 2
    cos, sin = radians.cos(), radians.sin()
    row = sin * (half_y / half_x) * columns + cos * rows + half_y
    column = cos * columns - sin * (half_x / half_y) * rows + half_x
    # The image gets a frame of zeros, one pixel wide. Positions further outside are moved onto this frame, so the value
    # there is zero too.
    row, column = row.clamp(-1, height), column.clamp(-1, width)
    top, left = row.floor().clamp_max(height - 1), column.floor().clamp_max(width - 1)
    below, right = (row - top).flatten(2), (column - left).flatten(2)
    framed = F.pad(x.to(radians.dtype), (1, 1, 1, 1))
    index = ((top + 1) * (width + 2) + left + 1).long()
    corners = (_look_up(framed, index + step) for step in (0, 1, width + 2, width + 3))
    top_left, top_right, below_left, below_right = corners
    return torch.lerp(torch.lerp(top_left, top_right, right), torch.lerp(below_left, below_right, right), below).view(
        x.shape
    )


def _pixels(x: Images) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the row numbers [H, 1] and the column numbers [W] of all pixels, int64, counted from 0."""
    height, width = x.shape[2:]
    return torch.arange(height, device=x.device).view(-1, 1), torch.arange(width, device=x.device)


def _centred(x: Images, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the row numbers [H, 1] and the column numbers [W] of all pixels, counted from the centre of the image."""
    rows, columns = _pixels(x)
    height, width = x.shape[2:]
    return rows.to(dtype) - (height - 1) / 2, columns.to(dtype) - (width - 1) / 2


def _look_up(x: Images, index: torch.Tensor) -> torch.Tensor:
    """Return the pixels [n, C, p] of `x` [n, C, H, W] at the p positions that `index` holds for each image.

    A position is a number in 0 … H W − 1: the row times W, plus the column.
    """
    flat = x.flatten(2)
    return flat.gather(2, index.flatten(2).expand(-1, flat.shape[1], -1))


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation: `draw` returns its random parameters by name, and `apply` takes them as keyword arguments."""

    draw: Callable[[Source, DSARanges], dict[str, torch.Tensor]]  # draws the parameters, each of shape [n]
    apply: Callable[..., Images]  # transforms a batch of images, with the parameters in the shape [n, 1, 1, 1]


OPERATIONS: Mapping[str, Operation] = {
    "color": Operation(_draw_color, _color),
    "crop": Operation(_draw_crop, _crop),
    "cutout": Operation(_draw_cutout, _cutout),
    "flip": Operation(_draw_flip, _flip),
    "scale": Operation(_draw_scale, _scale),
    "rotate": Operation(_draw_rotate, _rotate),
}
