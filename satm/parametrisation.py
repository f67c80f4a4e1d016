"""Parametrisations: φ is learned and stored, and networks see decode(φ).

This module loads torch only to decode, so that a list of sets is quick.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from satm.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from satm.types import Images


class Parametrisation(ABC):
    """How the stored images φ [n, C, H, W] give the images that networks see, [n·each, C, H, W].

    The images that come from one stored image follow one another, so a class-major set stays class-major. Budgets of
    images and bytes count what is stored.
    """

    __slots__ = ()
    cite: ClassVar[tuple[str, ...]] = ()  # what a user of its sets cites: keys of references.bib

    @property
    @abstractmethod
    def each(self) -> int:
        """How many images networks see of each stored one."""

    @abstractmethod
    def decode(self, images: Images) -> Images:
        """The images that networks see, as a differentiable function of φ = `images`."""

    @abstractmethod
    def encode(self, images: Images) -> Images:
        """A φ [n, C, H, W] that decodes to about `images` [n·each, C, H, W]. A condensation starts from it."""

    @abstractmethod
    def spell(self) -> str:
        """The setting that names it, such as `factor:2`; `parametrisation_of` reads it."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """A JSON-able description; `parametrisation_from_dict` is its inverse."""

    @abstractmethod
    def check(self, image_shape: tuple[int, int, int]) -> None:
        """Raise ConfigError if images of this shape (C, H, W) cannot be stored so."""

    def pulled_back(self, images: Images, derivative: Images) -> Images:
        """∂F/∂φ [n, C, H, W] at φ = `images`, given `derivative` = ∂F/∂decode(φ) [n·each, C, H, W]."""
        import torch

        leaf = images.detach().requires_grad_()
        seen = self.decode(leaf)
        return derivative if seen is leaf else torch.autograd.grad(seen, leaf, derivative)[0]

    def spread(self, values: torch.Tensor) -> torch.Tensor:
        """The value of each image that networks see, [n·each, …], given that of each stored one, [n, …]."""
        return values if self.each == 1 else values.repeat_interleave(self.each, dim=0)

    def by_stored(self, values: torch.Tensor) -> torch.Tensor:
        """[n·each, …] → [n, each, …]: the values of the images that come from each stored one."""
        found: torch.Tensor = values.unflatten(0, (-1, self.each))
        return found


@dataclass(frozen=True, slots=True)
class Pixels(Parametrisation):
    """Networks see the stored images themselves."""

    @property
    def each(self) -> int:
        """See `Parametrisation`: one."""
        return 1

    def decode(self, images: Images) -> Images:
        """See `Parametrisation`: `images` itself."""
        return images

    def encode(self, images: Images) -> Images:
        """See `Parametrisation`: `images` itself."""
        return images

    def spell(self) -> str:
        """See `Parametrisation`."""
        return "pixels"

    def to_dict(self) -> dict[str, Any]:
        """See `Parametrisation`."""
        return {"name": "pixels"}

    def check(self, image_shape: tuple[int, int, int]) -> None:
        """See `Parametrisation`: any can."""


@dataclass(frozen=True, slots=True)
class Factor(Parametrisation):
    """A stored image is a grid of f × f smaller ones, line by line. Each is enlarged to the size of the whole image.

    This is IDC's multi-formation (Kim et al. 2022; `decode_zoom` in condense.py of
    snu-mllab/Efficient-Dataset-Condensation at 086273c): bilinear, without aligned corners. If f does not divide a
    side, the image is padded on its right and lower side first, as there. There the padding is grey (0.5 in 0..1).
    """

    cite: ClassVar[tuple[str, ...]] = ("kim2022idc",)
    factor: int  # f
    padding: tuple[float, ...] = ()  # the value of each channel in the padding; (): 0, the mean of real images

    def __post_init__(self) -> None:
        if self.factor < 2:
            raise ConfigError(f"factor {self.factor}: expected at least 2; 1 is the parametrisation pixels")

    @property
    def each(self) -> int:
        """See `Parametrisation`: f²."""
        return self.factor**2

    def decode(self, images: Images) -> Images:
        """See `Parametrisation`."""
        from torch.nn import functional as F

        f, size = self.factor, images.shape[-2:]
        pieces = self._padded(images).unflatten(3, (f, -1)).unflatten(2, (f, -1))  # n, C, row, h, column, w
        pieces = pieces.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
        seen: Images = F.interpolate(pieces, size=size, mode="bilinear", align_corners=False)
        return seen

    def encode(self, images: Images) -> Images:
        """See `Parametrisation`: each image is made smaller by the mean over areas. IDC takes the nearest pixel."""
        from torch.nn import functional as F

        f, (height, width) = self.factor, images.shape[-2:]
        small = F.interpolate(images, size=(-(-height // f), -(-width // f)), mode="area")
        grid: Images = small.unflatten(0, (-1, f, f)).permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
        return grid[..., :height, :width].contiguous()

    def spell(self) -> str:
        """See `Parametrisation`."""
        return f"factor:{self.factor}"

    def to_dict(self) -> dict[str, Any]:
        """See `Parametrisation`."""
        return {"name": "factor", "factor": self.factor, "padding": list(self.padding)}

    def pads(self, image_shape: tuple[int, int, int]) -> bool:
        """Whether images of this shape (C, H, W) are padded."""
        return any(side % self.factor for side in image_shape[1:])

    def check(self, image_shape: tuple[int, int, int]) -> None:
        """See `Parametrisation`: a piece needs a pixel, and `padding` one value a channel."""
        channels, *sides = image_shape
        for side in sides:
            if not _fits(self.factor, side):
                smaller = next(
                    (f"factor:{f}" for f in range(min(self.factor, side), 1, -1) if _fits(f, side)), "pixels"
                )
                raise ConfigError(
                    f"parametrisation {self.spell()}: the last pieces of {side} pixels would be padding only; choose "
                    f"{smaller}"
                )
        if self.padding and len(self.padding) != channels:
            raise ConfigError(
                f"padding {list(self.padding)} of {self.spell()}: expected a number for each of {channels} channels"
            )

    def _padded(self, images: Images) -> Images:
        from torch.nn import functional as F

        height, width = images.shape[-2:]
        missing = (0, -width % self.factor, 0, -height % self.factor)
        if not any(missing):
            return images
        whole = F.pad(images, missing)
        if not self.padding:
            return whole
        added = F.pad(images.new_zeros(1, 1, height, width), missing, value=1.0)
        return whole + added * images.new_tensor(self.padding).view(1, -1, 1, 1)


def _fits(factor: int, side: int) -> bool:
    """Whether every piece of a side of so many pixels has a pixel of its own."""
    return (factor - 1) * -(-side // factor) < side


PIXELS = Pixels()
"""The parametrisation of a set that names none."""


def parametrisation_of(text: str) -> Parametrisation:
    """The parametrisation that the setting `text` names: `pixels`, or `factor:2`. `factor:1` is `pixels`.

    Raises ConfigError for any other text.
    """
    if text == "pixels":
        return PIXELS
    found = re.fullmatch(r"factor:([1-9][0-9]{0,3})", text)
    if found is None:
        raise ConfigError(f"parametrisation '{text}': expected pixels, or factor:N for grids of N × N images")
    return PIXELS if found[1] == "1" else Factor(int(found[1]))


def parametrisation_from_dict(values: Mapping[str, Any] | None) -> Parametrisation:
    """Rebuild a parametrisation from its `to_dict`; None is `PIXELS`. Raises ConfigError on anything else."""
    match values:
        case None | {"name": "pixels"}:
            return PIXELS
        case {"name": "factor", "factor": int(factor), "padding": list(padding)}:
            if all(isinstance(value, float) and math.isfinite(value) for value in padding):
                return Factor(factor, tuple(padding))
    raise ConfigError(f"parametrisation {values!r} is unknown; expected that of a set of this version")
