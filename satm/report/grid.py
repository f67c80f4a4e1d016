"""Draws a synthetic set as one picture, with a row of images for each class."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from satm.errors import SatmError
from satm.synthetic import SyntheticSet

SHOWN = 10  # the largest number of images of a class in a grid
# Smaller images are enlarged to a side of about this many pixels; by `grid_png` only to half of it. `grid_png` and
# `grid_pixels` also reduce larger images to this side.
SIDE = 64
MOST = 200  # the largest number of images in a grid for a web page or for a logger


@dataclass(frozen=True, slots=True, kw_only=True)
class GridPNG:
    """A grid of images for a web page, as a small PNG that the page enlarges to `size`.

    Each pixel of an image is one pixel of the PNG. Only images that are larger than `SIDE` are reduced to `SIDE` first.
    """

    png: bytes
    images: int  # the number of images in the grid
    size: tuple[int, int]  # the width and height in pixels at which the page shows the grid

    def enlarged(self) -> bytes:
        """The PNG at the size at which the grid is shown, for programs that do not enlarge it themselves."""
        from PIL import Image

        file = io.BytesIO()
        Image.open(io.BytesIO(self.png)).resize(self.size, Image.Resampling.NEAREST).save(file, format="png")
        return file.getvalue()


def image_grid(synthetic: SyntheticSet, path: Path) -> None:
    """Write the decoded images of a set to a PNG file.

    The preprocessing (normalisation or whitening) is undone, and pixels are clipped to 0..1. At most `SHOWN` images of
    each class are drawn. Raises SatmError if the file cannot be written, and DataError if the ZCA transform is missing.
    """
    from torchvision.utils import make_grid, save_image

    images, across = _chosen(synthetic.decoded, len(synthetic))
    images = F.interpolate(images, scale_factor=max(1, SIDE // images.shape[-1]), mode="nearest")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_image(make_grid(images, nrow=across, padding=2), path, format="png")
    except OSError as error:
        raise SatmError(f"cannot write {path}: {error.strerror}; choose another file") from error


def grid_png(synthetic: SyntheticSet) -> GridPNG:
    """The decoded images of a set as a small PNG, which the web page enlarges. At most `MOST` images are drawn.

    The preprocessing is undone. Raises DataError if the ZCA transform is missing.
    """
    from PIL import Image  # torchvision is not used here: loading it, and a compiler with it, takes seconds

    grid, count, side = _small_grid(synthetic)
    file = io.BytesIO()
    Image.fromarray(grid).save(file, format="png")
    times = max(1, (SIDE // 2) // min(side, SIDE))
    return GridPNG(png=file.getvalue(), images=count, size=(times * grid.shape[1], times * grid.shape[0]))


def grid_pixels(synthetic: SyntheticSet) -> np.ndarray:
    """The decoded images of a set as one picture [H, W, 3] uint8. At most `MOST` images are drawn.

    The preprocessing is undone. Raises DataError if the ZCA transform is missing.
    """
    grid, _, side = _small_grid(synthetic)
    times = max(1, SIDE // min(side, SIDE))
    return grid.repeat(times, axis=0).repeat(times, axis=1)


def _small_grid(synthetic: SyntheticSet) -> tuple[np.ndarray, int, int]:
    """A grid of at most `MOST` images.

    Returns the grid [H, W, 3] uint8, the number of its images, and the longer side in pixels that an image has before
    it is reduced to `SIDE`.
    """
    images, across = _chosen(synthetic.decoded, MOST)
    side = max(images.shape[-2:])
    if side > SIDE:
        images = F.interpolate(images, scale_factor=SIDE / side, mode="area")
    count, channels, height = images.shape[:3]
    images = F.pad(images.expand(-1, 3, -1, -1) if channels == 1 else images, (0, 1, 0, 1), value=1.0)
    rows = -(-count // across)
    images = torch.cat([images, images.new_ones(rows * across - count, *images.shape[1:])])
    grid = images.view(rows, across, *images.shape[1:]).permute(0, 3, 1, 4, 2).reshape(rows * (height + 1), -1, 3)
    return (grid * 255).round().byte().numpy(), count, side


def _chosen(synthetic: SyntheticSet, most: int) -> tuple[torch.Tensor, int]:
    """The images to draw, [n, C, H, W] with pixels in 0..1, and the number of images in one row of the grid.

    At most `SHOWN` images of each class are drawn. If all classes together would give more than `most` images, only the
    first classes are drawn.
    """
    columns = min(SHOWN, synthetic.ipc)
    labels = synthetic.hard_labels
    classes = max(1, min(len(synthetic.classes), most // columns))
    chosen = [i for k in range(classes) for i in (labels == k).nonzero()[:columns, 0].tolist()]
    # A row for each class would make a tall column if each class has one image. In this case, classes share a row.
    across = columns if columns > 1 else min(SHOWN, len(synthetic.classes))
    return synthetic.preprocessing.invert(synthetic.images[chosen]).clamp(0, 1), across
