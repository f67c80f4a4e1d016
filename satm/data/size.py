"""Finds the height and width of a data set's images without decoding them."""

from __future__ import annotations

from pathlib import Path

from satm.data.catalogue import spec_of
from satm.data.decode import sizes_of
from satm.data.encoded import Encoded
from satm.data.lookup import find
from satm.data.sources import open_source
from satm.errors import DataError
from satm.progress import SILENT

MAX_SIDE = 4096  # the largest height and width in pixels; no network of satm takes larger images


def native_image_size(name: str, *, root: Path | None = None) -> int:
    """The height and width in pixels of the images of data set `name`.

    For a data set of the catalogue, it is the size that the catalogue states. For a user's own folder, it is the size
    that all images in the folder have.

    Raises UnknownName if there is no such data set. Raises DataError if the folder cannot be read, or if its images are
    not all square and of one size.
    """
    if (spec := spec_of(name)) is not None:
        return spec.image_size
    return common_side(open_source(find(name, root, SILENT).path))


def common_side(source: Encoded) -> int:
    """The height, equal to the width, in pixels that all images of `source` have. Reads the header of every image.

    Raises DataError if the images are not square, not all of one size, or larger than `MAX_SIDE`.
    """
    found = sizes_of(item for split in (source.train, source.test) for item in split.items())
    smallest = min(min(MAX_SIDE, *size) for size in found)
    advice = f"give --set image_size={smallest}, or another size, to crop and resize all images"
    if len(found) > 1:
        often = sorted(found.items(), key=lambda each: (-each[1][0], each[0]))
        parts = [f"{count} of {width}×{height} ({first})" for (width, height), (count, first) in often[:3]]
        more = f" and {len(often) - 3} more sizes" if len(often) > 3 else ""
        raise DataError(f"{source.where} has images of several sizes: {', '.join(parts)}{more}; {advice}")
    (((width, height), (_, first)),) = found.items()
    if width != height:
        raise DataError(f"{first} and all other images are {width}×{height} pixels, not square; {advice}")
    if width > MAX_SIDE:
        raise DataError(f"{first} and all other images are {width}×{height} pixels, above {MAX_SIDE} a side; {advice}")
    return width
