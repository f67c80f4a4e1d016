"""Differentiable siamese augmentation (DSA), as trajectory matching uses it: one operation for each batch.

Each operation is linear or affine in the image, and is computed by gathers and products. So it can be differentiated
any number of times. (Torch's grid_sample can be differentiated only once.) Crop, cutout, scale and rotate fill empty
places with zeros. The images are already preprocessed, so a zero need not be black. Other code of the field does the
same.

Source: Zhao and Bilen, "Dataset Condensation with Differentiable Siamese Augmentation" (2021), as MTT uses it in mode S
(utils.py:499-676 at commit 50dccea).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from satm.augment.operations import OPERATIONS, DSARanges, Source
from satm.errors import ShapeError, UnknownName
from satm.types import Images

STRATEGY = "color_crop_cutout_flip_scale_rotate"
DIGITS_STRATEGY = "color_crop_cutout_scale_rotate"  # for images of digits: without flip, as a mirrored 2 is no digit


@dataclass(frozen=True, slots=True)
class Draw:
    """One drawn operation and its parameters."""

    op: str  # the name of the operation
    # The parameters by name, on the CPU. A parameter has the shape [n] with one value for each image, or [1] if all
    # images share the value.
    values: Mapping[str, torch.Tensor]


def draw(
    strategy: str,
    n: int,
    image_shape: tuple[int, int, int],
    generator: torch.Generator,
    ranges: DSARanges | None = None,
    *,
    shared: bool = False,
) -> Draw:
    """Draw one operation of `strategy` and its parameters for `n` images of `image_shape` (C, H, W).

    If `shared` is True, only one value of each parameter is drawn, and `apply` uses it for all images of a batch of any
    size. In this way the real and the synthetic batch get the same transform, as in DC and DSA. Raises UnknownName for
    an unknown operation.
    """
    operations = parse(strategy)
    op = operations[int(torch.randint(len(operations), (1,), generator=generator))]
    _, height, width = image_shape
    source = Source(1 if shared else n, height, width, generator)
    return Draw(op, OPERATIONS[op].draw(source, ranges or DSARanges()))


def apply(images: Images, draw: Draw) -> Images:
    """Return `images` [n, C, H, W] float, transformed by `draw`, with the same shape, dtype and device.

    This function draws nothing and changes no argument. Raises ShapeError if the draw was made for another number of
    images; a shared draw fits any number.
    """
    # Use at least float32: in half precision, two neighbouring pixels of a large image may have the same coordinate.
    arithmetic = torch.promote_types(images.dtype, torch.float32)
    values = {}
    for name, value in draw.values.items():
        if len(value) not in (1, len(images)):
            raise ShapeError(f"a '{draw.op}' drawn for {len(value)} images, applied to {len(images)}")
        dtype = arithmetic if value.is_floating_point() else value.dtype
        values[name] = value.to(dtype).to(images.device).expand(len(images)).view(-1, 1, 1, 1)
    return OPERATIONS[draw.op].apply(images, **values).to(images.dtype)


def parse(strategy: str) -> list[str]:
    """Return the names of the operations in `strategy`, which joins them by underscores.

    Raises UnknownName for an unknown operation.
    """
    operations = strategy.split("_")
    for name in operations:
        if name not in OPERATIONS:
            raise UnknownName("augmentation", name, OPERATIONS, f"(in the strategy '{strategy}')")
    return operations


@dataclass(frozen=True, slots=True)
class DSA:
    """A DSA strategy with its ranges. `dsa(images, generator)` augments a batch, as `satm.training.fit` needs it."""

    strategy: str = STRATEGY
    ranges: DSARanges = field(default_factory=DSARanges)

    def __post_init__(self) -> None:
        parse(self.strategy)

    def draw(
        self, n: int, image_shape: tuple[int, int, int], generator: torch.Generator, *, shared: bool = False
    ) -> Draw:
        """See `satm.augment.draw`."""
        return draw(self.strategy, n, image_shape, generator, self.ranges, shared=shared)

    def __call__(self, images: Images, generator: torch.Generator) -> Images:
        """Return `images` [n, C, H, W], transformed by a new draw with its own parameters for each image."""
        n, channels, height, width = images.shape
        return apply(images, self.draw(n, (channels, height, width), generator))

    def to_dict(self) -> dict[str, Any]:
        """Return a description that JSON can hold."""
        return {"strategy": self.strategy, "ranges": asdict(self.ranges)}
