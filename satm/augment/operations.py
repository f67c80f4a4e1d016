"""The six operations of DSA: what each draws, and what it does to images [n, C, H, W].

An operation gets its parameters as [n, 1, 1, 1] on the images' device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from satm.errors import ConfigError
from satm.types import Images


@dataclass(frozen=True, slots=True, kw_only=True)
class DSARanges:
    """How far each operation may go."""

    flip: float = 0.5  # probability of a left-right flip
    scale: float = 1.2  # s: each axis is scaled by a factor in 1/s..s
    rotate: float = 15.0  # degrees, either way
    crop: float = 0.125  # largest shift, as a fraction of the side
    cutout: float = 0.5  # side of the hole, as a fraction of the image's
    brightness: float = 1.0  # width of the offset's range around 0
    saturation: float = 2.0  # largest factor on the distance from the grey image
    contrast: float = 0.5  # smallest factor on the distance from the mean; the largest is one more

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
    """Uniform draws for `n` images of a size."""

    n: int
    height: int
    width: int
    generator: torch.Generator

    def real(self, low: float, high: float) -> torch.Tensor:
        """[n] float64 in low..high."""
        return torch.rand(self.n, generator=self.generator, dtype=torch.float64) * (high - low) + low

    def whole(self, low: int, high: int) -> torch.Tensor:
        """[n] int64 in low..high, both ends included."""
        return torch.randint(low, high + 1, (self.n,), generator=self.generator)


def _round(x: float) -> int:
    return int(x + 0.5)  # halves go up, as in the field; Python's round would take them to even


def _draw_color(source: Source, ranges: DSARanges) -> dict[str, torch.Tensor]:
    return {
        "brightness": source.real(-ranges.brightness / 2, ranges.brightness / 2),
        "saturation": source.real(0, ranges.saturation),
        "contrast": source.real(ranges.contrast, ranges.contrast + 1),
    }


def _color(x: Images, *, brightness: torch.Tensor, saturation: torch.Tensor, contrast: torch.Tensor) -> Images:
    x = x + brightness
    grey = x.mean(dim=1, keepdim=True)
    x = (x - grey) * saturation + grey
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return (x - mean) * contrast + mean


def _draw_crop(source: Source, ranges: DSARanges) -> dict[str, torch.Tensor]:
    down, right = _round(source.height * ranges.crop), _round(source.width * ranges.crop)
    return {"row": source.whole(-down, down), "column": source.whole(-right, right)}


def _crop(x: Images, *, row: torch.Tensor, column: torch.Tensor) -> Images:
    rows, columns = _pixels(x)
    return _pick(x, rows + row, columns + column)


def _draw_cutout(source: Source, ranges: DSARanges) -> dict[str, torch.Tensor]:
    values: dict[str, torch.Tensor] = {}
    for axis, side in (("row", source.height), ("column", source.width)):
        hole = _round(side * ranges.cutout)
        # The hole's centre may fall on the border (and, for an even hole, just beyond the last pixel).
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
    zero = torch.zeros_like(x)
    return _affine(image, x, zero, zero, y)


def _draw_rotate(source: Source, ranges: DSARanges) -> dict[str, torch.Tensor]:
    return {"radians": source.real(-math.radians(ranges.rotate), math.radians(ranges.rotate))}


def _rotate(x: Images, *, radians: torch.Tensor) -> Images:
    cos, sin = radians.cos(), radians.sin()
    return _affine(x, cos, -sin, sin, cos)


def _affine(image: Images, xx: torch.Tensor, xy: torch.Tensor, yx: torch.Tensor, yy: torch.Tensor) -> Images:
    """Bilinear look-up of (xx·x + xy·y, yx·x + yy·y) for every pixel (x, y); zeros outside.

    Coordinates run from −1 to 1 between the outermost pixels' centres (align_corners=True); sides of 2 pixels or more.
    """
    height, width = image.shape[2:]
    rows, columns = _pixels(image)
    half_y, half_x = (height - 1) / 2, (width - 1) / 2
    y = (rows.to(yy.dtype) - half_y) / half_y
    x = (columns.to(xx.dtype) - half_x) / half_x
    row = (yx * x + yy * y) * half_y + half_y
    column = (xx * x + xy * y) * half_x + half_x
    top, left = row.floor(), column.floor()
    below, right = row - top, column - left  # fractions in 0..1
    top, left = top.long(), left.long()
    return (
        _pick(image, top, left) * (1 - below) * (1 - right)
        + _pick(image, top, left + 1) * (1 - below) * right
        + _pick(image, top + 1, left) * below * (1 - right)
        + _pick(image, top + 1, left + 1) * below * right
    )


def _pixels(x: Images) -> tuple[torch.Tensor, torch.Tensor]:
    """Row [H, 1] and column [1, W] numbers, int64."""
    height, width = x.shape[2:]
    return torch.arange(height, device=x.device).view(-1, 1), torch.arange(width, device=x.device)


def _pick(x: Images, row: torch.Tensor, column: torch.Tensor) -> Images:
    """The pixels of `x` [n, C, H, W] at int64 `row` and `column` (together [n, 1, H, W]); zeros outside."""
    n, channels, height, width = x.shape
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    index = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    picked = x.flatten(2).gather(2, index.flatten(2).expand(n, channels, -1))
    return picked.view(x.shape) * inside


@dataclass(frozen=True, slots=True)
class Operation:
    """How its parameters are drawn, and what they do to a batch; both know them by the same names."""

    draw: Callable[[Source, DSARanges], dict[str, torch.Tensor]]
    apply: Callable[..., Images]


OPERATIONS: Mapping[str, Operation] = {
    "color": Operation(_draw_color, _color),
    "crop": Operation(_draw_crop, _crop),
    "cutout": Operation(_draw_cutout, _cutout),
    "flip": Operation(_draw_flip, _flip),
    "scale": Operation(_draw_scale, _scale),
    "rotate": Operation(_draw_rotate, _rotate),
}
