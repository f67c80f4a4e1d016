"""Decodes images to one uint8 tensor. It uses a pool of threads, because Pillow releases the GIL while it decodes."""

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

_CHUNK = 64  # images that a thread decodes at a time
_GREY = ("1", "L", "LA", "I;16")  # Pillow's modes of grey images


def image_size_of(item: Item) -> int:
    """The side of a square image in pixels. Raises DataError if the image is not square or cannot be read."""
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
    """The images [n, 3, size, size] uint8 of `split`, and whether all of them are stored as grey images.

    Grey images become RGB. With `resize`, an image of another size is scaled so that its shorter side is `size` pixels
    (bilinear, antialiased), then cropped at the centre. `name` is the label of the progress bar, such as "decoding".

    Raises DataError if an image cannot be decoded, or if it has another size and `resize` is False. Raises Interrupted
    if `progress` asks to stop.
    """
    images = torch.empty(len(split), 3, size, size, dtype=torch.uint8)
    grey = True
    workers = os.cpu_count() or 1
    items, done = split.items(), 0
    with ThreadPoolExecutor(workers) as pool, progress.bar(name, len(split)) as bar:

        def decode_chunk(chunk: list[Item]) -> list[tuple[npt.NDArray[np.uint8], bool]]:
            return [_decode_one(item, size, resize) for item in chunk]

        while batch := list(islice(items, _CHUNK * workers)):
            if progress.stopping():
                raise Interrupted(f"stopped while {name}; the same command starts it again")
            chunks = [batch[start : start + _CHUNK] for start in range(0, len(batch), _CHUNK)]
            decoded = [each for chunk in pool.map(decode_chunk, chunks) for each in chunk]
            pixels = torch.from_numpy(np.stack([array for array, _ in decoded]))
            images[done : done + len(batch)] = pixels.permute(0, 3, 1, 2)
            grey = grey and all(flag for _, flag in decoded)
            done += len(batch)
            bar.advance(len(batch))
    return images, grey


def _decode_one(item: Item, size: int, resize: bool) -> tuple[npt.NDArray[np.uint8], bool]:
    """The pixels [size, size, 3] of one image in RGB, and whether it is stored as a grey image."""
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
                f"{name} is {rgb.width}×{rgb.height} pixels, but the first image is {size}×{size}; "
                "give image_size to resize all images"
            )
        rgb = ImageOps.fit(rgb, (size, size), Image.Resampling.BILINEAR)
    return np.asarray(rgb), grey
