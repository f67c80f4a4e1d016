"""The `.npz` files of KIP: images [n, H, W, C] and labels [n, K].

KIP learns by regression, so a label is a row of K targets, one for each class. The class of an image is the one with
the largest target, as in DC-BENCH's loader of these files.
Source: docs/field.md, "Normalisation and whitening", and that loader (data_loader/kip_data_loader.py).
"""

from __future__ import annotations

from pathlib import Path

import torch

from satm.errors import DataError
from satm.exchange.base import LAYOUTS, Foreign, Layout, lost
from satm.exchange.files import existing, one_of, shown
from satm.exchange.npz import array_tensor, load_npz
from satm.exchange.tensors import as_images, as_labels
from satm.synthetic import SyntheticSet


def read_kip(path: Path, index: int | None = None) -> Foreign:
    """Read the arrays `images` and `labels` of the file `path`, or of the only `.npz` in the folder `path`.

    Raises DataError if the file cannot be read.
    """
    path = existing(path)
    file = one_of(path, "*.npz") if path.is_dir() else path
    arrays = load_npz(file)
    missing = [name for name in ("images", "labels") if name not in arrays]
    if missing:
        raise DataError(f"{file} has no array {' and '.join(missing)}, only {shown(', '.join(arrays), 80) or 'none'}")
    stored = as_images(array_tensor(arrays["images"], file), str(file))
    images = stored.permute(0, 3, 1, 2).contiguous()
    labels = as_labels(array_tensor(arrays["labels"], file), str(file), n=len(images))
    notes = ("KIP's labels are regression targets",) if labels.ndim == 2 else ()
    return Foreign(images=images, labels=labels, files=(file,), notes=notes)


def write_kip(synthetic: SyntheticSet, path: Path) -> tuple[str, ...]:
    """Write `images` [n, H, W, C] and `labels` [n, K]. Returns the facts that are lost, one line each.

    Hard labels become KIP's targets: 1 − 1/K for the class of the image, and −1/K for the others.
    """
    import numpy as np

    labels = synthetic.labels.detach().cpu()
    if synthetic.label_kind == "hard":
        k = len(synthetic.classes)
        labels = torch.eye(k)[labels] - 1 / k
    images = synthetic.images.detach().cpu().permute(0, 2, 3, 1).contiguous()
    with path.open("wb") as file:  # if NumPy opened the file by its name, it would add a suffix
        np.savez(file, images=images.numpy(), labels=labels.numpy())
    return lost(synthetic, step_size=True, kind=True, unit_whitening=True)


LAYOUTS.add(
    Layout(
        name="kip",
        summary="KIP: .npz with images [n, H, W, C] and labels [n, K]",
        read=read_kip,
        write=write_kip,
        suffix=".npz",
        soft="hard",
        method="kip",
        unit_whitening=True,
    )
)
