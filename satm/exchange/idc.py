"""The file `data.pt` of IDC, DREAM, MDC and NCFM: [images, labels], with pixels in 0..1.

With a factor f, each stored image is a grid of f × f smaller images. Before training, the grid is cut into its pieces,
and each piece is enlarged to the size of the stored image. An import with a factor stores the grids, and the
parametrisation `Factor` cuts and enlarges them, so that networks train on the same images as in the authors' code.
A whitened set stores the enlarged pieces instead, because whitening a grid is not the same as whitening its pieces.

Source: snu-mllab/Efficient-Dataset-Condensation, test.py (decode_zoom; the type `single`) and condense.py.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from satm.errors import ConfigError, DataError
from satm.exchange.base import LAYOUTS, Foreign, Layout, lost
from satm.exchange.files import existing, one_of
from satm.exchange.pickles import load_torch
from satm.exchange.tensors import as_images, as_labels
from satm.parametrisation import Factor
from satm.preprocessing import MeanStd
from satm.synthetic import SyntheticSet

GREY = 0.5  # the value of the padding, as in decode_zoom of IDC's code
_NOTE = "images are pixels in 0..1: taken into the space of --preprocessing, as their authors' training does"


def read_idc(path: Path, index: int | None = None) -> Foreign:
    """Read the images and labels of the file `path`, or of the only `data*.pt` in the folder `path`.

    `index` is not used, because a file holds one set. Raises DataError if the file cannot be read.
    """
    path = existing(path)
    file = one_of(path, "data*.pt") if path.is_dir() else path
    content = load_torch(file)
    if not isinstance(content, list | tuple) or len(content) != 2:
        raise DataError(f"{file} does not hold [images, labels]; is it of another format?")
    images = as_images(content[0], str(file))
    labels = as_labels(content[1], str(file), n=len(images))
    return Foreign(images=images, labels=labels, files=(file,), pixels=True, notes=(_NOTE,))


def cut(foreign: Foreign, factor: int) -> Foreign:
    """Return the set with every image cut into `factor`² pieces, each enlarged to the size of the image (see `Factor`).

    If `factor` does not divide the side of the images, they are padded with grey. The images are sorted by class, and
    the pieces of an image follow one another. Raises ConfigError if `factor` is not between 2 and the side. Raises
    DataError if the images are not square, are not floats, or do not have one class each.
    """
    images, labels = foreign.images, foreign.labels
    side = images.shape[-1]
    if not 2 <= factor <= side:
        raise ConfigError(f"factor {factor}: expected 2 to {side}, the side of the images; leave it out for whole ones")
    if labels is None or labels.ndim != 1 or not images.is_floating_point() or images.shape[-2] != side:
        raise DataError("a factor needs square images in 0..1 with one class each; leave --factor out")
    grids, how = by_class(foreign), Factor(factor, (GREY,) * images.shape[1])
    how.check((images.shape[1], side, side))
    seen = how.decode(grids.images)
    note = f"each image is cut into {factor}×{factor} and enlarged to {side} pixels: {len(images)} become {len(seen)}"
    notes = (*foreign.notes, note)
    return replace(foreign, images=seen, labels=how.spread(_classes(grids)), enlarged=True, notes=notes)


def by_class(foreign: Foreign) -> Foreign:
    """Return the set with its images sorted by class. The images of one class keep their order."""
    order = _classes(foreign).argsort(stable=True)
    return replace(foreign, images=foreign.images[order], labels=_classes(foreign)[order])


def as_grids(cut_out: SyntheticSet, foreign: Foreign, factor: int) -> SyntheticSet:
    """Return a set that stores the grids of `foreign` and decodes to the images of `cut_out`.

    `cut_out` is the set of pieces, made from the result of `cut` and checked. If it is whitened, the function returns
    `cut_out` itself, for the reason at the top of this file.
    """
    space = cut_out.preprocessing
    if not isinstance(space, MeanStd):
        return cut_out
    grids = by_class(foreign)
    channels = grids.images.shape[1]
    grey = space(torch.full((1, channels, 1, 1), GREY)).flatten().tolist()
    how = Factor(factor)
    if how.pads(cut_out.image_shape):
        how = Factor(factor, tuple(grey))
    ipc = cut_out.ipc // how.each
    about = {**cut_out.config["import"], "ipc": ipc}
    return replace(
        cut_out,
        images=space(grids.images).contiguous(),
        labels=_classes(grids),
        ipc=ipc,
        parametrisation=how,
        config={**cut_out.config, "import": about},
    )


def _classes(foreign: Foreign) -> torch.Tensor:
    assert foreign.labels is not None  # `cut` has checked this
    return foreign.labels


def _keeps(synthetic: SyntheticSet) -> bool:
    """Whether an export of the stored images, imported again with --factor, gives the same set.

    Images that need padding are excluded, because an import always pads with grey, as IDC does.
    """
    how, space, (_, height, width) = synthetic.parametrisation, synthetic.preprocessing, synthetic.image_shape
    exact = isinstance(how, Factor) and isinstance(space, MeanStd) and not how.pads(synthetic.image_shape)
    return exact and height == width and synthetic.label_kind == "hard"  # `cut` requires both


def write_idc(synthetic: SyntheticSet, path: Path) -> tuple[str, ...]:
    """Write [images, labels], with the images as pixels. Returns the facts that are lost, one line each.

    Learned pixels may be a little outside 0..1. They are not clipped.
    """
    images = synthetic.preprocessing.invert(synthetic.images.detach().cpu())
    torch.save([images.clone(), synthetic.labels.detach().cpu().clone()], path)
    how = synthetic.parametrisation
    factor = (f"its factor is not carried: it takes --factor {how.factor}",) if isinstance(how, Factor) else ()
    return (*lost(synthetic, step_size=True, kind=True), *factor)


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
        keeps=_keeps,
    )
)
