"""Converts images of many kinds to 8-bit RGB by fixed rules, so that no pixel is silently clipped, hidden or misread.

The rules:
- A 16-bit grey value v becomes v / 257, rounded, so that 65535 is white.
- An image with transparent pixels is laid on a white background.
- Grey images of 32-bit or floating-point numbers are refused, because no file says which number is white.
- If an image has several frames, the first one is used.
- All other images (palettes, CMYK, 8-bit grey) are converted to RGB by Pillow.
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

# The version of the rules above. Decoded images are cached together with it, so a new version decodes them again.
RULES = 2
_WIDE = ("I;16", "I;16L", "I;16B", "I;16N")  # Pillow's modes of 16-bit grey images
_GREY = ("1", "L", "LA", "La", *_WIDE)  # Pillow's modes of grey images of at most 16 bits
_LEVELS = 32  # 16-bit images are refused if the conversion to 8 bits leaves fewer grey levels than this
_ORIENTATION = 0x0112  # the EXIF tag of the orientation; the value 1 means upright


@dataclass(frozen=True, slots=True)
class Seen:
    """What was special about one image."""

    size: tuple[int, int]  # the width and height in the file
    grey: bool  # whether the file stores a grey image
    transparent: bool  # whether at least one pixel was transparent, if only in part
    turned: bool  # whether the image was turned upright
    frames: bool  # whether the file has more than one frame
    brightest: int | None  # the largest value of all pixels of a 16-bit grey image; None for other images


@dataclass(frozen=True, slots=True)
class Tally:
    """What was special about many images: how many of them are grey, transparent and so on."""

    facts: Counter[str]  # for the name of each true-or-false field of `Seen`: the number of images for which it is true
    sizes: Counter[tuple[int, int]]  # the number of images of each (width, height)
    brightest: int | None  # the largest value in all images if every image is 16-bit grey; None otherwise

    @classmethod
    def of(cls, images: Iterable[Seen]) -> Tally:
        """Return the tally of `images`. There must be at least one image."""
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
        """Return messages for the user about the conversion, one line each.

        `size` is the height and width of the converted images. If it is None, there is no message about resized images.
        """
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
        """Raise DataError if all images are 16-bit and so dark that 8 bits keep fewer than 32 of their grey levels.

        `where` is the path of the images, for the message.
        """
        if self.brightest is None:
            return
        levels = _eight_bits(self.brightest) + 1
        if levels < _LEVELS:
            raise DataError(
                f"{where}: its 16-bit images reach {self.brightest} of 65535, so 8 bits keep only {levels} of their "
                "grey levels; stretch them to 0..65535"
            )


def frames_of(image: Image.Image) -> int:
    """Return the number of frames of an image that is open but not yet decoded.

    The number is 1 for a camera's MPO file, because all frames of such a file after the first are previews.
    """
    return 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))


def rgb_of(image: Image.Image, *, upright: bool) -> tuple[Image.Image, Seen]:
    """Return the decoded `image` in 8-bit RGB, and what was special about it.

    If `upright` is True, the image is turned as its EXIF data say. Raises ValueError if the pixels are 32-bit or
    floating-point numbers; the message says what the user can do.
    """
    from PIL import Image, ImageOps

    size, kind, several = image.size, image.format, frames_of(image) > 1
    grey, transparent, brightest = image.mode in _GREY, False, None
    image.load()
    turned = upright and _orientation(image) in range(2, 9)
    if turned:
        image = ImageOps.exif_transpose(image)
    # Pillow opens 16-bit PGM files (format "PPM"), and some versions of it 16-bit PNG files, in the mode "I", which is
    # meant for 32-bit numbers.
    if image.mode in _WIDE or (image.mode == "I" and kind in ("PNG", "PPM")):
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
    except Exception:  # Pillow raises almost any error on damaged EXIF data; then the image is not turned
        return 1


def _narrowed(image: Image.Image) -> tuple[Image.Image, int, bool]:
    """Return a 16-bit grey `image` converted to 8 bits, its largest 16-bit value, and whether a pixel was transparent.

    Transparent pixels become white.
    """
    from PIL import Image

    values = np.asarray(image).astype(np.uint32)
    levels = _eight_bits(values).astype(np.uint8)
    clear = image.info.get("transparency")  # the grey value that means "transparent"; None if there is none
    transparent = values == clear if isinstance(clear, int) else np.zeros(values.shape, dtype=bool)
    levels[transparent] = 255
    return Image.fromarray(levels), int(values.max()), bool(transparent.any())


def _eight_bits(value: Any) -> Any:
    """Return round(v / 257) for a 16-bit number v, or for each number of an array."""
    return (value + 128) // 257
