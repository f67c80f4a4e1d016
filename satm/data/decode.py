"""Decodes images to one uint8 tensor, in a pool of threads: Pillow releases the GIL while it decodes."""

from __future__ import annotations

import io
import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch

from satm.data.encoded import EncodedSplit, Item
from satm.errors import DataError, Interrupted
from satm.progress import Progress
from satm.types import Images

_RUN = 64  # images a thread decodes at a time
_GREY = ("1", "L", "LA", "I;16")


def image_size_of(item: Item) -> int:
    """The side of a square image in pixels; raises DataError if it is not square or cannot be read."""
    from PIL import Image

    name, source = item
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            width, height = image.size
    except (OSError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{name} is not an image that can be read ({error}); replace or remove it") from error
    if width != height:
        raise DataError(f"{name} is {width}×{height} pixels, not square; give image_size to crop and resize all images")
    return width


def decode(split: EncodedSplit, name: str, *, size: int, resize: bool, progress: Progress) -> tuple[Images, bool]:
    """The images [n, 3, size, size] uint8 of `split`, and whether all of them were grey.

    Grey images become RGB. With `resize`, an image of another size is scaled so that its shorter side is `size`
    (bilinear, antialiased), then cropped at the centre. Raises DataError if an image cannot be decoded, or has another
    size and `resize` is off; Interrupted if `progress` asks to stop.
    """
    images = torch.empty(len(split), 3, size, size, dtype=torch.uint8)
    grey = True
    workers = os.cpu_count() or 1
    items, done = split.items(), 0
    with ThreadPoolExecutor(workers) as pool, progress.bar(name, len(split)) as bar:

        def decode_run(run: list[Item]) -> list[tuple[npt.NDArray[np.uint8], bool]]:
            return [_decode_one(item, size, resize) for item in run]

        while batch := list(islice(items, _RUN * workers)):
            if progress.stopping():
                raise Interrupted(f"stopped while {name}; the same command starts it again")
            runs = [batch[start : start + _RUN] for start in range(0, len(batch), _RUN)]
            decoded = [each for run in pool.map(decode_run, runs) for each in run]
            pixels = torch.from_numpy(np.stack([array for array, _ in decoded]))
            images[done : done + len(batch)] = pixels.permute(0, 3, 1, 2)
            grey = grey and all(flag for _, flag in decoded)
            done += len(batch)
            bar.advance(len(batch))
    return images, grey


def _decode_one(item: Item, size: int, resize: bool) -> tuple[npt.NDArray[np.uint8], bool]:
    from PIL import Image, ImageOps

    name, source = item
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            grey = image.mode in _GREY
            rgb = image.convert("RGB")
    except (OSError, SyntaxError, ValueError, struct.error, zlib.error, Image.DecompressionBombError) as error:
        raise DataError(f"{name} cannot be decoded ({error}); replace or remove it") from error
    if rgb.size != (size, size):
        if not resize:
            raise DataError(
                f"{name} is {rgb.width}×{rgb.height} pixels, the first image {size}×{size}; "
                "give image_size to resize all images"
            )
        rgb = ImageOps.fit(rgb, (size, size), Image.Resampling.BILINEAR)
    return np.asarray(rgb), grey
