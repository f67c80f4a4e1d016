"""Turns an image of any kind into 8-bit RGB, so that no pixel is clipped, hidden or misread in silence.

- 16-bit grey v becomes v / 257, rounded, so that 65535 is white.
- A transparent image is laid on white.
- Grey pixels of 32 bits or of floating point are refused: no file says which number is white.
- Of an image with several frames the first is taken.
- All else (palettes, CMYK, 8-bit grey) becomes RGB as Pillow converts it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from satm.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

RULES = 2  # the version of the rules above; part of the key of kept images
_WIDE = ("I;16", "I;16L", "I;16B", "I;16N")  # Pillow's modes of 16-bit grey images
_GREY = ("1", "L", "LA", "La", *_WIDE)
_LEVELS = 32  # 16-bit images that would keep fewer grey levels than this are refused
_ORIENTATION = 0x0112  # the EXIF tag; 1 is upright


@dataclass(frozen=True, slots=True)
class Seen:
    """What was special about one image."""

    size: tuple[int, int]  # width and height, as stored
    grey: bool
    transparent: bool
    turned: bool
    frames: bool  # more than one
    brightest: int | None  # the largest value of a 16-bit image


@dataclass(frozen=True, slots=True)
class Tally:
    """What was special about many images."""

    facts: Counter[str]
    sizes: Counter[tuple[int, int]]
    brightest: int | None  # the largest value of all, if all are 16-bit

    @classmethod
    def of(cls, images: Iterable[Seen]) -> Tally:
        """Count `images`, of which there is at least one."""
        seen = list(images)
        facts = {
            name: sum(getattr(each, name) for each in seen) for name in ("grey", "transparent", "turned", "frames")
        }
        values = [each.brightest for each in seen if each.brightest is not None]
        brightest = max(values) if len(values) == len(seen) else None
        return cls(Counter(facts), Counter(each.size for each in seen), brightest)

    def __add__(self, other: Tally) -> Tally:
        both = self.brightest is not None and other.brightest is not None
        brightest = max(self.brightest or 0, other.brightest or 0) if both else None
        return Tally(self.facts + other.facts, self.sizes + other.sizes, brightest)

    @property
    def grey(self) -> bool:
        """Whether all images are stored as grey images."""
        return self.facts["grey"] == self.sizes.total()

    def notes(self, size: int | None) -> list[str]:
        """What the user should know, a line each. `size`: pixels a side of the result; None: it is known to differ."""
        lines = []
        if size is not None and (other := self.sizes.total() - self.sizes[size, size]):
            widths, heights = zip(*self.sizes, strict=True)
            ends = dict.fromkeys((f"{min(widths)}×{min(heights)}", f"{max(widths)}×{max(heights)}"))
            total = self.sizes.total()
            some = f"{other} of {total} images are not" if other < total else f"none of {total} images is"
            lines.append(
                f"{some} {size}×{size} pixels ({' to '.join(ends)}): cropped to the square in their middle, resized to "
                f"{size}×{size}"
            )
        if self.facts["transparent"]:
            lines.append(f"{self.facts['transparent']} images are transparent in places: laid on white")
        if self.facts["turned"]:
            lines.append(f"{self.facts['turned']} images are turned upright, as their EXIF orientation says")
        if self.facts["frames"]:
            lines.append(f"{self.facts['frames']} images have several frames: the first is taken")
        return lines

    def check_levels(self, where: str) -> None:
        """Raise DataError if all images are 16-bit and so dark that 8 bits keep few of their grey levels."""
        if self.brightest is None:
            return
        levels = _eight_bits(self.brightest) + 1
        if levels < _LEVELS:
            raise DataError(
                f"{where}: its 16-bit images reach {self.brightest} of 65535, so 8 bits keep only {levels} of their "
                "grey levels; stretch them to 0..65535"
            )


def frames_of(image: Image.Image) -> int:
    """How many frames an open, not yet decoded image has. A camera's MPO counts as one: the others are previews."""
    return 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))


def rgb_of(image: Image.Image, *, upright: bool) -> tuple[Image.Image, Seen]:
    """The decoded `image` in 8-bit RGB, and what was special about it. `upright`: turn it as its EXIF data say.

    Raises ValueError, with the way out, if its pixels have no stated range.
    """
    from PIL import Image, ImageOps

    size, kind, several = image.size, image.format, frames_of(image) > 1
    grey, transparent, brightest = image.mode in _GREY, False, None
    image.load()
    turned = upright and _orientation(image) in range(2, 9)
    if turned:
        image = ImageOps.exif_transpose(image)
    if image.mode in _WIDE or (image.mode == "I" and kind in ("PNG", "PPM")):  # some Pillows open 16-bit PNG as 32-bit
        image, brightest, transparent = _narrowed(image)
        grey = True
    if image.mode in ("I", "F"):
        numbers = "floating-point numbers" if image.mode == "F" else "32-bit numbers"
        raise ValueError(f"its pixels are {numbers}, and no file says which number is white: save it with 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        transparent = bool((np.asarray(image.getchannel("A")) < 255).any())
        if transparent:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB"), Seen(
        size=size, grey=grey, transparent=transparent, turned=turned, frames=several, brightest=brightest
    )


def _orientation(image: Image.Image) -> Any:
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # Pillow raises almost any error on damaged EXIF data, which say nothing then
        return 1


def _narrowed(image: Image.Image) -> tuple[Image.Image, int, bool]:
    """A 16-bit grey image with 8 bits, its largest value, and whether a part of it was transparent (now white)."""
    from PIL import Image

    values = np.asarray(image).astype(np.uint32)
    levels = _eight_bits(values).astype(np.uint8)
    clear = image.info.get("transparency")  # the one value that is transparent, if it is a number
    transparent = values == clear if isinstance(clear, int) else np.zeros(values.shape, dtype=bool)
    levels[transparent] = 255
    return Image.fromarray(levels), int(values.max()), bool(transparent.any())


def _eight_bits(value: Any) -> Any:
    """round(v / 257) for a 16-bit number or an array of them."""
    return (value + 128) // 257
