"""Decodes images to one uint8 tensor in several threads, which really run in parallel: Pillow releases Python's GIL."""

from __future__ import annotations

import io
import os
import threading
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from satm.data.encoded import EncodedSplit, Item
from satm.data.pixels import Seen, Tally, rgb_of
from satm.data.raw import SMALLER
from satm.errors import DataError, Interrupted
from satm.machine.room import check_room
from satm.progress import Progress
from satm.types import Images

if TYPE_CHECKING:
    from PIL import Image

_CHUNK = 64  # the number of images that are given to a thread at a time
_LARGE = 2**24  # an image with more pixels than this is large; only one large image is decoded at a time
_PIXEL_BYTES = 12  # bytes of RAM for each pixel of a large image, which is held as stored, as RGBA and as RGB at once


def sizes_of(items: Iterable[Item]) -> dict[tuple[int, int], tuple[int, str]]:
    """Return, by size (width, height), the number of images of this size and the name of the first of them.

    Only the headers of the images are read. Raises DataError if a header cannot be read.
    """
    found: dict[tuple[int, int], tuple[int, str]] = {}
    with _no_warnings():
        for item in items:
            with _opened(item) as image:
                count, first = found.get(image.size, (0, item[0]))
                found[image.size] = (count + 1, first)
    return found


def decode(
    split: EncodedSplit, name: str, *, size: int, upright: bool = False, progress: Progress
) -> tuple[Images, Tally]:
    """Return the images of `split` as a tensor [n, 3, size, size] uint8, and a tally of what was special about them.

    Images become 8-bit RGB by the rules in `satm.data.pixels`. If `upright` is True, they are also turned as their EXIF
    data say. An image of another size is cropped to the largest square at its centre, and the square is resized
    (bilinear, antialiased). `name` is the label of the progress bar, such as "decoding imagenette (train)".

    Raises DataError if an image cannot be decoded, or if the machine has too little RAM for one image or for all
    images. Raises Interrupted if `progress` asks to stop.
    """
    check_room(len(split) * 3 * size * size, f"{name}: {len(split)} images of {size}×{size} pixels", SMALLER)
    images = torch.empty(len(split), 3, size, size, dtype=torch.uint8)
    tally: Tally | None = None
    workers, alone = os.cpu_count() or 1, threading.Lock()
    items, done = split.items(), 0
    with ThreadPoolExecutor(workers) as pool, progress.bar(name, len(split)) as bar, _no_warnings():

        def decode_chunk(chunk: list[Item]) -> list[tuple[npt.NDArray[np.uint8], Seen]]:
            return [_decode_one(item, size, upright, alone) for item in chunk]

        while batch := list(islice(items, _CHUNK * workers)):
            if progress.stopping():
                raise Interrupted(f"stopped while {name}; the same command starts it again")
            chunks = [batch[start : start + _CHUNK] for start in range(0, len(batch), _CHUNK)]
            decoded = [each for chunk in pool.map(decode_chunk, chunks) for each in chunk]
            pixels = torch.from_numpy(np.stack([array for array, _ in decoded]))
            images[done : done + len(batch)] = pixels.permute(0, 3, 1, 2)
            counted = Tally.of(seen for _, seen in decoded)
            tally = counted if tally is None else tally + counted
            done += len(batch)
            bar.advance(len(batch))
    assert tally is not None, "a split has at least one image"
    return images, tally


def _decode_one(item: Item, size: int, upright: bool, alone: threading.Lock) -> tuple[npt.NDArray[np.uint8], Seen]:
    """Return the pixels [size, size, 3] of one image in RGB, and what was special about the image.

    A thread holds the lock `alone` while it decodes a large image, so that only one large image is in RAM at a time.
    """
    from PIL import Image, ImageOps

    name = item[0]
    with _opened(item) as image:
        width, height = image.size
        large = width * height > _LARGE
        with alone if large else nullcontext():
            if large:
                check_room(width * height * _PIXEL_BYTES, f"decoding {name} ({width}×{height} pixels)", "shrink it")
            try:
                rgb, seen = rgb_of(image, upright=upright)
                if rgb.size != (size, size):
                    rgb = ImageOps.fit(rgb, (size, size), Image.Resampling.BILINEAR)
            except Exception as error:  # Pillow's readers raise almost any error on damaged bytes
                raise DataError(f"{name} cannot be decoded ({_said(error)}); replace or remove it") from error
            return np.asarray(rgb), seen


@contextmanager
def _opened(item: Item) -> Iterator[Image.Image]:
    """Open an image for a `with` block. Only the header of the image is read here.

    Raises DataError if the file or its header cannot be read, or if the header says that the image has more than
    `MAX_IMAGE_PIXELS` pixels, a constant of Pillow.
    """
    from PIL import Image, UnidentifiedImageError

    name, source = item
    try:
        image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
    except PermissionError as error:
        raise DataError(f"{name} may not be read: no permission; ask its owner, or leave it out") from error
    except UnidentifiedImageError as error:
        raise DataError(f"{name} is not an image that can be read; replace or remove it") from error
    except Exception as error:  # Pillow's readers raise almost any error on damaged headers
        raise DataError(f"{name} is not an image that can be read ({_said(error)}); replace or remove it") from error
    with image:
        if image.width * image.height > (Image.MAX_IMAGE_PIXELS or float("inf")):
            raise DataError(
                f"{name} is {image.width}×{image.height} pixels; more than {Image.MAX_IMAGE_PIXELS} are taken for a "
                "decompression bomb; shrink or remove it"
            )
        yield image


@contextmanager
def _no_warnings() -> Iterator[None]:
    """A context in which no warnings are printed.

    Pillow's warnings are about problems that this module checks itself, or that do not change the pixels.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _said(error: Exception) -> str:
    """Return the message of an error in one line, or the name of its type if it has no message."""
    return " ".join(str(error).split()) or type(error).__name__
