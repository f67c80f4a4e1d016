"""Parametrisations: a set stores the images φ, which are learned, and networks are trained on decode(φ).

The functions import torch only when they need it, so that a command that only lists sets starts fast.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from satm.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from satm.types import Images

Shape: TypeAlias = tuple[int, int, int]
"""The shape of one image: (C, H, W), or that of a stored image, which the parametrisation can make another one."""


class Parametrisation(ABC):
    """A way to compute the images that networks see, [n·each, C, H, W], from the stored images φ [n, …].

    φ has four dimensions, too. Its images have the shape (C, H, W), unless the parametrisation stores another one (see
    `stored_shape`).

    The images that come from the same stored image follow one another. Therefore, if the stored images are sorted by
    class, the images that networks see are sorted by class, too. A limit on the number of images or bytes is a limit on
    the stored images.
    """

    __slots__ = ()
    cite: ClassVar[tuple[str, ...]] = ()  # what users of a set with this parametrisation cite: keys of references.bib

    @property
    @abstractmethod
    def each(self) -> int:
        """The number of images that networks see for each stored image."""

    @abstractmethod
    def decode(self, images: Images) -> Images:
        """The images that networks see, as a differentiable function of φ = `images`."""

    @abstractmethod
    def encode(self, images: Images) -> Images:
        """Compute a φ [n, …] for which decode(φ) is about `images` [n·each, C, H, W].

        A condensation computes its first φ from real images in this way.
        """

    @abstractmethod
    def spell(self) -> str:
        """The setting for this parametrisation as text, such as `factor:2`. `parametrisation_of` reads it."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """A JSON-able description; `parametrisation_from_dict` is its inverse."""

    @abstractmethod
    def check(self, image_shape: Shape) -> None:
        """Raise ConfigError if networks cannot see images of the shape (C, H, W) under this parametrisation."""

    def stored_shape(self, image_shape: Shape) -> Shape:
        """The shape of a stored image, if networks see images of the shape `image_shape`: here the same shape."""
        return image_shape

    def seen_shape(self, stored_shape: Shape) -> Shape:
        """The shape (C, H, W) of the images that networks see, if stored images have the shape `stored_shape`.

        The inverse of `stored_shape`. Raises ConfigError if no stored image has this shape.
        """
        return stored_shape

    def pulled_back(self, images: Images, derivative: Images) -> Images:
        """∂F/∂φ, with the shape of φ, at φ = `images`, given `derivative` = ∂F/∂decode(φ) [n·each, C, H, W]."""
        import torch

        leaf = images.detach().requires_grad_()
        seen = self.decode(leaf)
        return derivative if seen is leaf else torch.autograd.grad(seen, leaf, derivative)[0]

    def spread(self, values: torch.Tensor) -> torch.Tensor:
        """Repeat values such as labels, from one for each stored image to one for each image that networks see.

        `values` are [n, …], and the result is [n·each, …].
        """
        return values if self.each == 1 else values.repeat_interleave(self.each, dim=0)

    def by_stored(self, values: torch.Tensor) -> torch.Tensor:
        """Group values by stored image: from one for each image that networks see to `each` for each stored image.

        `values` are [n·each, …], and the result is [n, each, …].
        """
        found: torch.Tensor = values.unflatten(0, (-1, self.each))
        return found


@dataclass(frozen=True, slots=True)
class Pixels(Parametrisation):
    """The parametrisation `pixels`: networks see the stored images themselves."""

    @property
    def each(self) -> int:
        """The number of images that networks see for each stored image: 1. See `Parametrisation`."""
        return 1

    def decode(self, images: Images) -> Images:
        """Return `images` itself; see `Parametrisation`."""
        return images

    def encode(self, images: Images) -> Images:
        """Return `images` itself; see `Parametrisation`."""
        return images

    def spell(self) -> str:
        """The setting as text: `pixels`. See `Parametrisation`."""
        return "pixels"

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able description; see `Parametrisation`."""
        return {"name": "pixels"}

    def check(self, image_shape: Shape) -> None:
        """Accept every shape; see `Parametrisation`."""


@dataclass(frozen=True, slots=True)
class Factor(Parametrisation):
    """The parametrisation `factor:f`: each stored image is a grid of f × f smaller images, row by row.

    To decode, each of the f² smaller images is enlarged to the size of the whole stored image. This is the
    multi-formation of IDC (Kim et al. 2022; `decode_zoom` in condense.py of snu-mllab/Efficient-Dataset-Condensation at
    086273c). The enlargement is bilinear, without aligned corners.

    If f does not divide the height or the width, the stored image is first padded on its right and lower side, as in
    IDC's code. In IDC's code the padding is grey (0.5 for pixels in 0..1). Here `padding` sets its value.
    """

    cite: ClassVar[tuple[str, ...]] = ("kim2022idc",)
    factor: int  # f, the number of smaller images along each side
    # The value of the padding for each channel. If it is empty, the value is 0, the mean of normalised real images.
    padding: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.factor < 2:
            raise ConfigError(f"factor {self.factor}: expected at least 2; 1 is the parametrisation pixels")

    @property
    def each(self) -> int:
        """The number of images that networks see for each stored image: f². See `Parametrisation`."""
        return self.factor**2

    def decode(self, images: Images) -> Images:
        """Cut each stored image into its f² smaller images, and enlarge them; see `Parametrisation`."""
        from torch.nn import functional as F

        f, size = self.factor, images.shape[-2:]
        pieces = self._padded(images).unflatten(3, (f, -1)).unflatten(2, (f, -1))  # n, C, row, h, column, w
        pieces = pieces.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
        seen: Images = F.interpolate(pieces, size=size, mode="bilinear", align_corners=False)
        return seen

    def encode(self, images: Images) -> Images:
        """Make each image smaller, and put f² of them into each stored image; see `Parametrisation`.

        A pixel of a smaller image is the mean of an area of the original image. IDC uses the nearest pixel instead.
        """
        from torch.nn import functional as F

        f, (height, width) = self.factor, images.shape[-2:]
        small = F.interpolate(images, size=(-(-height // f), -(-width // f)), mode="area")
        grid: Images = small.unflatten(0, (-1, f, f)).permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
        return grid[..., :height, :width].contiguous()

    def spell(self) -> str:
        """The setting as text, such as `factor:2`, without the padding. See `Parametrisation`."""
        return f"factor:{self.factor}"

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able description; see `Parametrisation`."""
        return {"name": "factor", "factor": self.factor, "padding": list(self.padding)}

    def pads(self, image_shape: Shape) -> bool:
        """Whether stored images of the shape (C, H, W) must be padded, because f does not divide a side."""
        return any(side % self.factor for side in image_shape[1:])

    def check(self, image_shape: Shape) -> None:
        """Raise ConfigError if one of the f² smaller images would be padding only, or if `padding` is wrong.

        `padding` must have one value for each channel, or be empty. See `Parametrisation`.
        """
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
    """Whether each piece has a pixel that is not padding, if a side of `side` pixels is cut into `factor` pieces."""
    return (factor - 1) * -(-side // factor) < side


@dataclass(frozen=True, slots=True)
class LowRank(Parametrisation):
    """The parametrisation `low-rank:r`: each channel X [S, S] of an image is a product of two matrices of rank r,

        X = A B,   A [S, r],   B [r, S]

    (Yang et al. 2023, LoDM and its siblings; main_LoDM.py of EnnengYang/An-Efficient-Dataset-Condensation-Plugin at
    7174818). A stored image [C, 2r, S] holds Aᵀ in its first r rows and B in the other r rows. So images must be
    square. A stored image has 2r/S of the values of an image: the bytes of one image hold S/(2r) stored images.

    If φ starts as noise, the entries of A and B are from N(0, 1), as in the published code. The code has no start from
    real images (its branch is empty). Here it is the best approximation of rank r, by the singular values Σ of each
    channel, X = U Σ Vᵀ, split evenly: A = U_r √Σ_r, B = √Σ_r V_rᵀ. This split is ours.
    """

    cite: ClassVar[tuple[str, ...]] = ("yang2023lodm",)
    rank: int  # r

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ConfigError(f"rank {self.rank}: expected at least 1")

    @property
    def each(self) -> int:
        """The number of images that networks see for each stored image: 1. See `Parametrisation`."""
        return 1

    def decode(self, images: Images) -> Images:
        """The products A B [n, C, S, S] of the stored images [n, C, 2r, S]; see `Parametrisation`."""
        left, right = images.split(self.rank, dim=2)
        seen: Images = left.mT @ right
        return seen

    def encode(self, images: Images) -> Images:
        """The best approximations of rank r of `images` [n, C, S, S]; see the class. Exact if r = S."""
        import torch

        left, values, right = torch.linalg.svd(images, full_matrices=False)
        root = values[..., : self.rank, None].sqrt()
        return torch.cat([root * left.mT[..., : self.rank, :], root * right[..., : self.rank, :]], dim=2)

    def spell(self) -> str:
        """The setting as text, such as `low-rank:8`. See `Parametrisation`."""
        return f"low-rank:{self.rank}"

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able description; see `Parametrisation`."""
        return {"name": "low-rank", "rank": self.rank}

    def stored_shape(self, image_shape: Shape) -> Shape:
        """The shape (C, 2r, S) of the two factors side by side; see `Parametrisation`."""
        channels, _, side = image_shape
        return channels, 2 * self.rank, side

    def seen_shape(self, stored_shape: Shape) -> Shape:
        """The shape (C, S, S) of the products. Raises ConfigError unless there are 2r rows. See `Parametrisation`."""
        channels, rows, side = stored_shape
        if rows != 2 * self.rank:
            raise ConfigError(
                f"parametrisation {self.spell()}: stored images have {rows} rows, expected {2 * self.rank}, "
                "twice the rank"
            )
        return channels, side, side

    def check(self, image_shape: Shape) -> None:
        """Raise ConfigError if the images are not square, or have a side below r; see `Parametrisation`."""
        _, height, width = image_shape
        if height != width:
            raise ConfigError(
                f"parametrisation {self.spell()}: images of {height} × {width} pixels, expected square ones; "
                "take pixels"
            )
        if self.rank > width:
            raise ConfigError(
                f"parametrisation {self.spell()}: an image of {width} × {width} pixels has at most the rank {width}; "
                f"choose at most low-rank:{width} (below half of {width}, it takes fewer bytes than pixels)"
            )


PIXELS = Pixels()
"""The parametrisation of a set if no other one is given."""


def parametrisation_of(text: str) -> Parametrisation:
    """The parametrisation for the setting `text`: `pixels`, or one with a number, such as `factor:2` or `low-rank:8`.

    `factor:1` is the same as `pixels`. Raises ConfigError for any other text.
    """
    if text == "pixels":
        return PIXELS
    found = re.fullmatch(r"(factor|low-rank):([1-9][0-9]{0,3})", text)
    if found is None:
        raise ConfigError(
            f"parametrisation '{text}': expected pixels, factor:N for grids of N × N images, or low-rank:R for "
            "products of two matrices of rank R"
        )
    if found[1] == "low-rank":
        return LowRank(int(found[2]))
    return PIXELS if found[2] == "1" else Factor(int(found[2]))


def parametrisation_from_dict(values: Mapping[str, Any] | None) -> Parametrisation:
    """Make a parametrisation from the result of its `to_dict`. None gives `PIXELS`.

    Raises ConfigError for any other value.
    """
    match values:
        case None | {"name": "pixels"}:
            return PIXELS
        case {"name": "factor", "factor": int(factor), "padding": list(padding)}:
            if all(isinstance(value, float) and math.isfinite(value) for value in padding):
                return Factor(factor, tuple(padding))
        case {"name": "low-rank", "rank": int(rank)}:
            return LowRank(rank)
    raise ConfigError(f"parametrisation {values!r} is unknown; expected that of a set of this version")
