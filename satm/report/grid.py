"""A synthetic set as one picture: a row of images for each class."""

from __future__ import annotations

from pathlib import Path

from torch.nn import functional as F

from satm.errors import SatmError
from satm.synthetic import SyntheticSet

SHOWN = 10  # images of a class at most
SIDE = 64  # pixels an image is enlarged to at least


def image_grid(synthetic: SyntheticSet, path: Path) -> None:
    """Write a PNG, normalisation or whitening undone, clipped to the visible range.

    Raises SatmError where the file cannot be written, DataError where the ZCA transform is missing.
    """
    from torchvision.utils import make_grid, save_image

    columns = min(SHOWN, synthetic.ipc)
    labels = synthetic.hard_labels
    chosen = [i for k in range(len(synthetic.classes)) for i in (labels == k).nonzero()[:columns, 0].tolist()]
    images = synthetic.preprocessing.invert(synthetic.images[chosen]).clamp(0, 1)
    images = F.interpolate(images, scale_factor=max(1, SIDE // images.shape[-1]), mode="nearest")
    # One image a class would make one tall column: then classes share rows.
    across = columns if columns > 1 else min(SHOWN, len(synthetic.classes))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_image(make_grid(images, nrow=across, padding=2), path, format="png")
    except OSError as error:
        raise SatmError(f"cannot write {path}: {error.strerror}; choose another file") from error
