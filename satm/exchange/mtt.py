"""The files `images_*.pt` and `labels_*.pt` of MTT, FTD, TESLA and DATM; DATM also has `lr_*.pt`.

Images are float32, preprocessed as for training. Labels are int64 and class-major, or a float matrix [n, K]
(probabilities in TESLA, logits in DATM). Source: docs/field.md, "Files people have" (MTT distill.py, DATM.py).
"""

from __future__ import annotations

from pathlib import Path

import torch

from satm.errors import DataError
from satm.exchange.base import LAYOUTS, Foreign, Layout, lost
from satm.exchange.files import existing, inside, one_of
from satm.exchange.pickles import load_torch
from satm.exchange.tensors import as_images, as_labels, as_step_size, step_size_tensor
from satm.home import make_folder
from satm.synthetic import SyntheticSet

_NAME = "best"  # in `images_best.pt`, a name that the loaders of these projects look for


def read_mtt(path: Path, index: int | None = None) -> Foreign:
    """Read the images and labels at `path`: a folder with one pair of files, or the images file of a pair.

    Raises DataError if a file cannot be read.
    """
    return _read(path, step_size=False)


def read_datm(path: Path, index: int | None = None) -> Foreign:
    """Read as `read_mtt` does, and also the step size from `lr_*.pt`, which must exist.

    Raises DataError if a file cannot be read.
    """
    return _read(path, step_size=True)


def _read(path: Path, *, step_size: bool) -> Foreign:
    path = existing(path)
    images_file = one_of(path, "*images_*.pt", without=("*images_zca_*",)) if path.is_dir() else path
    if "images" not in images_file.name:
        raise DataError(f"{images_file} is not called images_*.pt, so that its labels cannot be found; rename both")
    labels_file = _beside(images_file, "labels")
    images = as_images(load_torch(images_file), str(images_file))
    labels = as_labels(load_torch(labels_file), str(labels_file), n=len(images))
    files, rate = [images_file, labels_file], None
    if step_size:
        rate_file = _beside(images_file, "lr")
        rate = as_step_size(load_torch(rate_file), str(rate_file))
        files.append(rate_file)
    chosen = images_file.stem.endswith("_best")
    notes = ("files called best were picked by their test accuracy, by the peers' code",) if chosen else ()
    return Foreign(images=images, labels=labels, step_size=rate, files=tuple(files), notes=notes)


def _beside(images: Path, what: str) -> Path:
    """Return the path of the file `what` that belongs to an images file: `labels_3.pt` for `images_3.pt`.

    `images_zca_3.pt` holds images with the whitening undone; it has the same labels file.
    """
    name = images.name.replace("images_zca", "images").replace("images", what)
    found = images.with_name(name)
    if not found.exists():
        raise DataError(f"{found} is missing; {images.name} needs it beside it")
    return inside(found, images.parent)


def write_mtt(synthetic: SyntheticSet, path: Path) -> tuple[str, ...]:
    """Write `images_best.pt` and `labels_best.pt` into the new folder `path`. Returns the facts that are lost."""
    make_folder(path)
    torch.save(synthetic.images.detach().cpu().clone(), path / f"images_{_NAME}.pt")
    torch.save(synthetic.labels.detach().cpu().clone(), path / f"labels_{_NAME}.pt")
    return lost(synthetic, step_size=True, kind=True)


def write_datm(synthetic: SyntheticSet, path: Path) -> tuple[str, ...]:
    """Write as `write_mtt` does, and also `lr_best.pt`. Raises DataError if the set has no step size."""
    if synthetic.step_size is None:
        raise DataError("the set has no step size, which this format needs; export it as mtt or safetensors")
    write_mtt(synthetic, path)
    torch.save(step_size_tensor(synthetic.step_size), path / f"lr_{_NAME}.pt")
    return lost(synthetic, kind=synthetic.label_kind != "logits")


LAYOUTS.add(
    Layout(
        name="mtt",
        summary="MTT, FTD, TESLA: images_*.pt + labels_*.pt",
        read=read_mtt,
        write=write_mtt,
        method="mtt",
        cifar10_constants=True,
    )
)
LAYOUTS.add(
    Layout(
        name="datm",
        summary="DATM: images_*.pt + labels_*.pt (logits) + lr_*.pt",
        read=read_datm,
        write=write_datm,
        soft="logits",
        method="datm",
        cifar10_constants=True,
    )
)
