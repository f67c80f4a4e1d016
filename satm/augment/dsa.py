"""Differentiable siamese augmentation (DSA), as trajectory matching uses it: one operation for each batch.

Source: Zhao and Bilen, "Dataset Condensation with Differentiable Siamese Augmentation" (2021), as MTT uses it in mode S
(utils.py:499-676 at 50dccea). Each operation is linear or affine in the image and made of gathers and products, so it
can be differentiated any number of times (torch's grid_sample only once). Crop, cutout, scale and rotate bring in zeros
of the preprocessed space, as in the field.
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
DIGITS_STRATEGY = "color_crop_cutout_scale_rotate"  # no flip: a mirrored digit is not a digit


@dataclass(frozen=True, slots=True)
class Draw:
    """One drawn operation and its parameters `values`, each [n], or [1] if the whole batch shares them."""

    op: str
    values: Mapping[str, torch.Tensor]  # on the CPU


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

    With `shared`, one set of parameters is drawn, and `apply` takes it for a batch of any size. The real and synthetic
    batches of DC and DSA get the same transform in this way. Raises UnknownName for an unknown operation.
    """
    operations = parse(strategy)
    op = operations[int(torch.randint(len(operations), (1,), generator=generator))]
    _, height, width = image_shape
    source = Source(1 if shared else n, height, width, generator)
    return Draw(op, OPERATIONS[op].draw(source, ranges or DSARanges()))


def apply(images: Images, draw: Draw) -> Images:
    """`images` [n, C, H, W] float, transformed by `draw`: same shape, dtype and device. A pure function.

    Raises ShapeError if the draw was made for another number of images.
    """
    # In half precision, two neighbouring pixels of a large image may have the same coordinate.
    arithmetic = torch.promote_types(images.dtype, torch.float32)
    values = {}
    for name, value in draw.values.items():
        if len(value) not in (1, len(images)):
            raise ShapeError(f"a '{draw.op}' drawn for {len(value)} images, applied to {len(images)}")
        dtype = arithmetic if value.is_floating_point() else value.dtype
        values[name] = value.to(dtype).to(images.device).expand(len(images)).view(-1, 1, 1, 1)
    return OPERATIONS[draw.op].apply(images, **values).to(images.dtype)


def parse(strategy: str) -> list[str]:
    """The operations that `strategy` joins by underscores. Raises UnknownName for an unknown operation."""
    operations = strategy.split("_")
    for name in operations:
        if name not in OPERATIONS:
            raise UnknownName("augmentation", name, OPERATIONS, f"(in the strategy '{strategy}')")
    return operations


@dataclass(frozen=True, slots=True)
class DSA:
    """A strategy with its ranges, as an augmentation for `satm.training.fit`: `dsa(images, generator)`."""

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
        """`images` [n, C, H, W] after a fresh draw, with own parameters for each image."""
        n, channels, height, width = images.shape
        return apply(images, self.draw(n, (channels, height, width), generator))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able description."""
        return {"strategy": self.strategy, "ranges": asdict(self.ranges)}
