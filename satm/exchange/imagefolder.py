"""Folders of image files, one folder for each class, as in torchvision's ImageFolder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import torch

from satm.data.decode import decode, sizes_of
from satm.data.encoded import EncodedSplit, Item
from satm.data.passed import PassedOver, class_folders, image_files
from satm.errors import DataError
from satm.exchange.base import DESCRIPTION_LOST, LAYOUTS, Foreign, Layout
from satm.exchange.files import existing, inside
from satm.home import make_folder
from satm.preprocessing import ZCA
from satm.progress import SILENT
from satm.synthetic import SyntheticSet
from satm.types import Images

# The limits of an image's side and of the pixels of all images together. They are needed because a tiny PNG can claim
# any size. 20,000 images of 224² pixels are allowed.
MAX_SIDE, MAX_PIXELS = 4096, 2**30
_PIXELS = "images are pixels: taken into the space of --preprocessing"


def read_imagefolder(path: Path, index: int | None = None) -> Foreign:
    """Read the image files `path/<class>/*` (PNG, JPEG …) as uint8 pixels, ordered by class and file name.

    `index` is not used, because a folder holds one set. Raises DataError if there are no images or one cannot be read.
    """
    root = existing(path)
    if not root.is_dir():
        raise DataError(f"{root} is a file; give the folder that holds one folder of images a class")
    passed = PassedOver(root)
    folders = class_folders(root, passed)
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(folders):
        inside_folder(root / name, root)
        found = image_files(root / name, passed, deep=False)
        files += [inside(p, root) for p in found]
        labels += [label] * len(found)
    if not files:
        raise DataError(f"{root} holds no <class>/*.png; give the folder that holds one folder of images a class")
    images, notes = decoded([(str(p), p) for p in files])
    return Foreign(
        images=images,
        labels=torch.tensor(labels),
        files=tuple(files),
        folders=tuple(folders),
        notes=(*passed.notes(), *notes),
    )


def inside_folder(folder: Path, root: Path) -> None:
    """Raise DataError if the folder is a link that leads out of `root`."""
    if not folder.resolve().is_relative_to(root.resolve()):
        raise DataError(f"{folder} points outside {root}; copy the folder itself there")


def decoded(items: list[Item]) -> tuple[Images, tuple[str, ...]]:
    """Decode images. Returns (images [n, 1 or 3, side, side] uint8, notes for the user, one line each).

    An item is (the name of an image in error messages, its file or its encoded bytes). Raises DataError if an image
    cannot be decoded, is not square, is too large or has another size than the others.
    """

    def read(rows: torch.Tensor) -> Iterator[Item]:
        return (items[row] for row in rows.tolist())

    found = sizes_of(items)  # reads headers only: a wrong size is found before anything is decoded
    (width, height), (_, first) = next(iter(found.items()))
    if width != height:
        raise DataError(f"{first} is {width}×{height} pixels; expected square images")
    sides = [side for size in found for side in size]
    if len(found) > 1 or width > MAX_SIDE or len(items) * width**2 > MAX_PIXELS:
        raise DataError(
            f"{items[0][0]} and the other {len(items) - 1} images have {min(sides)} to {max(sides)} pixels a side; "
            f"expected one size of at most {MAX_SIDE}, and at most {MAX_PIXELS >> 20} million pixels in all"
        )
    split = EncodedSplit(labels=torch.zeros(len(items), dtype=torch.int64), rows=torch.arange(len(items)), read=read)
    images, tally = decode(split, "decoding", size=width, upright=True, progress=SILENT)
    tally.check_levels(items[0][0])
    return images[:, :1].contiguous() if tally.grey else images, (_PIXELS, *tally.notes(width))


def pictures(synthetic: SyntheticSet) -> tuple[Images, float]:
    """Return the images [n, C, H, W] as uint8 pixels, and the largest change of a value by rounding and clipping.

    The change is for values in 0..1, and not in 0..255.

    Raises DataError if the images are neither grey nor RGB, or if their whitening is not on this machine.
    """
    if synthetic.images.shape[1] not in (1, 3):
        raise DataError(f"images of {synthetic.images.shape[1]} channels cannot be PNG; export them as safetensors")
    exact = synthetic.preprocessing.invert(synthetic.images.detach().cpu())
    pixels = (exact * 255).round().clamp(0, 255).to(torch.uint8)
    return pixels, float((pixels.float() / 255 - exact).abs().max())


def write_pictures(synthetic: SyntheticSet, path: Path, folders: list[str], file: str) -> tuple[str, ...]:
    """Write each image to `path/<folder of its class>/<file>.png`. Returns the facts that are lost, one line each.

    `folders` holds the folder name of each class. `file` is a format string with two arguments: the class, and the
    number of the image within its class.
    """
    from PIL import Image

    pixels, change = pictures(synthetic)
    counts = [0] * len(folders)
    for image, label in zip(pixels, synthetic.hard_labels.tolist(), strict=True):
        place = path / folders[label] / (file.format(label, counts[label]) + ".png")
        make_folder(place.parent)
        array = image[0] if len(image) == 1 else image.permute(1, 2, 0)
        Image.fromarray(array.contiguous().numpy()).save(place)
        counts[label] += 1
    found = [f"pixels are rounded to 8 bits and clipped to 0..1 (largest change {change:.3g})"]
    if isinstance(synthetic.preprocessing, ZCA) and synthetic.preprocessing.unit:
        found.append("KIP's whitening has lost each image's brightness and contrast: they become the average image's")
    if (synthetic.hard_labels.diff() < 0).any():
        found.append("the order of the images becomes class-major")
    if synthetic.step_size is not None:
        found.append(
            f"the step size is not carried: to import the files again, give --step-size {synthetic.step_size!r}"
        )
    return (*found, DESCRIPTION_LOST)


def write_imagefolder(synthetic: SyntheticSet, path: Path) -> tuple[str, ...]:
    """Write PNG files into folders named after the classes. Returns the facts that are lost, one line each.

    If a class name cannot be used as a folder name, or if two class names differ at most in upper and lower case, all
    folders are named by class number.
    """
    make_folder(path)
    plain = all(re.fullmatch(r"[\w][\w .'()-]*", name) and name == name.strip() for name in synthetic.classes)
    distinct = len({name.lower() for name in synthetic.classes}) == len(synthetic.classes)
    numbers = [f"{label:05d}" for label in range(len(synthetic.classes))]
    folders = list(synthetic.classes) if plain and distinct else numbers
    found = write_pictures(synthetic, path, folders, "{1:05d}")
    if synthetic.label_kind != "hard":
        found = (f"{synthetic.label_kind} become the likeliest class (rded keeps them)", *found)
    return found


LAYOUTS.add(
    Layout(
        name="imagefolder",
        summary="one folder of PNG images a class",
        read=read_imagefolder,
        write=write_imagefolder,
        space="meanstd",
    )
)
