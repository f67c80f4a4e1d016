"""IDC, DREAM, MDC and NCFM's `data.pt`: [images, labels], the images in 0..1. One may hold several smaller ones.

With factor f an image is a grid of f × f smaller ones. Training cuts it and enlarges each piece to the image's side:
IPC becomes IPC · f². Import with `factor` does the same, so that the set trains as it did with its authors.

Source: snu-mllab/Efficient-Dataset-Condensation, test.py (decode_zoom; the type `single`) and condense.py.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch.nn import functional as F

from satm.errors import ConfigError, DataError
from satm.exchange.base import LAYOUTS, Foreign, Layout, lost
from satm.exchange.files import existing, one_of
from satm.exchange.pickles import load_torch
from satm.exchange.tensors import as_images, as_labels
from satm.synthetic import SyntheticSet
from satm.types import Images, Labels

_PADDING = 0.5  # grey, as in decode_zoom
_NOTE = "images are pixels in 0..1: taken into the space of --preprocessing, as their authors' training does"


def read_idc(path: Path, index: int | None = None) -> Foreign:
    """The images and labels of the file `path`, or of the only `data*.pt` in the folder `path`; raises DataError."""
    path = existing(path)
    file = one_of(path, "data*.pt") if path.is_dir() else path
    content = load_torch(file)
    if not isinstance(content, list | tuple) or len(content) != 2:
        raise DataError(f"{file} does not hold [images, labels]; is it of another format?")
    images = as_images(content[0], str(file))
    labels = as_labels(content[1], str(file), n=len(images))
    return Foreign(images=images, labels=labels, files=(file,), pixels=True, notes=(_NOTE,))


def cut(foreign: Foreign, factor: int) -> Foreign:
    """The set with every image cut into `factor`² pieces, each enlarged to the image's side (bilinear).

    If the side is no multiple of `factor`, the image is padded with grey on its right and lower side first. The pieces
    of a class follow one another: all first pieces, then all second ones, line by line. Raises ConfigError if `factor`
    is not between 2 and the side, DataError if images are not square floats with one class each.
    """
    images, labels = foreign.images, foreign.labels
    side = images.shape[-1]
    if not 2 <= factor <= side:
        raise ConfigError(f"factor {factor}: expected 2 to {side}, the side of the images; leave it out for whole ones")
    if labels is None or labels.ndim != 1 or not images.is_floating_point() or images.shape[-2] != side:
        raise DataError("a factor needs square images in 0..1 with one class each; leave --factor out")
    pieces, classes = _pieces(images, labels, factor)
    order = classes.argsort(stable=True)
    note = f"each image is cut into {factor}×{factor} and enlarged to {side} pixels: {len(images)} become {len(order)}"
    return replace(foreign, images=pieces[order], labels=classes[order], enlarged=True, notes=(*foreign.notes, note))


def _pieces(images: Images, labels: Labels, factor: int) -> tuple[Images, Labels]:
    side = images.shape[-1]
    length = -(-side // factor)
    missing = -side % factor
    padded = F.pad(images, (0, missing, 0, missing), value=_PADDING)
    starts = [(row * length, column * length) for row in range(factor) for column in range(factor)]
    small = torch.cat([padded[:, :, top : top + length, left : left + length] for top, left in starts])
    large = F.interpolate(small, size=(side, side), mode="bilinear", align_corners=False)
    return large, labels.repeat(factor * factor)


def write_idc(synthetic: SyntheticSet, path: Path) -> tuple[str, ...]:
    """Write [images, labels], the images as pixels. Learned pixels may leave 0..1 a little; they are not clipped."""
    images = synthetic.preprocessing.invert(synthetic.images.detach().cpu())
    torch.save([images.clone(), synthetic.labels.detach().cpu().clone()], path)
    return lost(synthetic, step_size=True, kind=True)


LAYOUTS.add(
    Layout(
        name="idc",
        summary="IDC, DREAM, MDC, NCFM: data.pt of [images, labels]",
        read=read_idc,
        write=write_idc,
        suffix=".pt",
        space="meanstd",
        method="idc",
        factor=True,
    )
)
