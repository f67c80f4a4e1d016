"""A synthetic set as one picture: a row of images for each class."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from satm.errors import SatmError
from satm.synthetic import SyntheticSet

SHOWN = 10  # at most this many images of a class
SIDE = 64  # smaller images are enlarged to about this many pixels a side
MOST = 200  # images of a grid in a page


@dataclass(frozen=True, slots=True, kw_only=True)
class GridPNG:
    """A grid for a page: one pixel of the file is one of the images, unless they are larger than `SIDE`."""

    png: bytes
    images: int  # that it shows
    size: tuple[int, int]  # width and height as they are shown

    def enlarged(self) -> bytes:
        """The PNG at the size at which it is shown, for a reader that does not enlarge it."""
        from PIL import Image

        file = io.BytesIO()
        Image.open(io.BytesIO(self.png)).resize(self.size, Image.Resampling.NEAREST).save(file, format="png")
        return file.getvalue()


def image_grid(synthetic: SyntheticSet, path: Path) -> None:
    """Write the images that networks see as a PNG. Normalisation or whitening is undone, and pixels are clipped
    to 0..1.

    Raises SatmError if the file cannot be written, DataError if the ZCA transform is missing.
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
    """The images that networks see as a small PNG, at most `MOST` of them; the reader enlarges it.

    Raises DataError as `image_grid`.
    """
    from PIL import Image  # torchvision's grids would load it and a compiler, for seconds

    grid, count, side = _small_grid(synthetic)
    file = io.BytesIO()
    Image.fromarray(grid).save(file, format="png")
    times = max(1, (SIDE // 2) // min(side, SIDE))
    return GridPNG(png=file.getvalue(), images=count, size=(times * grid.shape[1], times * grid.shape[0]))


def grid_pixels(synthetic: SyntheticSet) -> np.ndarray:
    """The images that networks see as one picture, [H, W, 3] uint8, at most `MOST` of them.

    Raises DataError as `image_grid`.
    """
    grid, _, side = _small_grid(synthetic)
    times = max(1, SIDE // min(side, SIDE))
    return grid.repeat(times, axis=0).repeat(times, axis=1)


def _small_grid(synthetic: SyntheticSet) -> tuple[np.ndarray, int, int]:
    """A grid of at most `MOST` images, [H, W, 3] uint8; their number, and the longer side of one before it is made
    smaller."""
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
    """Images in display space [n, C, H, W], about `most` at most, and how many of them make a row."""
    columns = min(SHOWN, synthetic.ipc)
    labels = synthetic.hard_labels
    classes = max(1, min(len(synthetic.classes), most // columns))
    chosen = [i for k in range(classes) for i in (labels == k).nonzero()[:columns, 0].tolist()]
    # With one image a class, one row for each class would make a tall column: classes share rows.
    across = columns if columns > 1 else min(SHOWN, len(synthetic.classes))
    return synthetic.preprocessing.invert(synthetic.images[chosen]).clamp(0, 1), across
