"""MTT, FTD and TESLA's `images_*.pt` + `labels_*.pt`, and DATM's with `lr_*.pt` beside them.

Images are float32 in the space of the training. Labels are int64 and class-major, or float [n, K] (TESLA:
probabilities, DATM: logits). Source: docs/field.md, "Files people have" (MTT distill.py, DATM.py).
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

_NAME = "best"  # the name that the peers' own loaders look for


def read_mtt(path: Path, index: int | None = None) -> Foreign:
    """The images and labels of `path`: a folder with one pair of files, or the images file of a pair.

    Raises DataError if a file cannot be read.
    """
    return _read(path, step_size=False)


def read_datm(path: Path, index: int | None = None) -> Foreign:
    """As `read_mtt`, with the step size from `lr_*.pt`, which must exist; raises DataError."""
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
    """`labels_3.pt` for `images_3.pt`. `images_zca_3.pt`, with the whitening undone, has the same labels file."""
    name = images.name.replace("images_zca", "images").replace("images", what)
    found = images.with_name(name)
    if not found.exists():
        raise DataError(f"{found} is missing; {images.name} needs it beside it")
    return inside(found, images.parent)


def write_mtt(synthetic: SyntheticSet, path: Path) -> tuple[str, ...]:
    """Write `images_best.pt` and `labels_best.pt` into the new folder `path`."""
    make_folder(path)
    torch.save(synthetic.images.detach().cpu().clone(), path / f"images_{_NAME}.pt")
    torch.save(synthetic.labels.detach().cpu().clone(), path / f"labels_{_NAME}.pt")
    return lost(synthetic, step_size=True, kind=True)


def write_datm(synthetic: SyntheticSet, path: Path) -> tuple[str, ...]:
    """As `write_mtt`, with `lr_best.pt`; raises DataError if the set has no step size."""
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
