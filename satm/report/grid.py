"""A synthetic set as one picture: a row of images for each class."""

from __future__ import annotations

from pathlib import Path

from torch.nn import functional as F

from satm.errors import SatmError
from satm.synthetic import SyntheticSet

SHOWN = 10  # at most this many images of a class
SIDE = 64  # smaller images are enlarged to about this many pixels a side


def image_grid(synthetic: SyntheticSet, path: Path) -> None:
    """Write the images as a PNG. Normalisation or whitening is undone, and pixels are clipped to 0..1.

    Raises SatmError if the file cannot be written, DataError if the ZCA transform is missing.
    """
    from torchvision.utils import make_grid, save_image

    columns = min(SHOWN, synthetic.ipc)
    labels = synthetic.hard_labels
    chosen = [i for k in range(len(synthetic.classes)) for i in (labels == k).nonzero()[:columns, 0].tolist()]
    images = synthetic.preprocessing.invert(synthetic.images[chosen]).clamp(0, 1)
    images = F.interpolate(images, scale_factor=max(1, SIDE // images.shape[-1]), mode="nearest")
    # With one image a class, one row for each class would make a tall column: classes share rows.
    across = columns if columns > 1 else min(SHOWN, len(synthetic.classes))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_image(make_grid(images, nrow=across, padding=2), path, format="png")
    except OSError as error:
        raise SatmError(f"cannot write {path}: {error.strerror}; choose another file") from error
