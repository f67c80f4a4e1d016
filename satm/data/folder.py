"""Opens data sets of image files: with one folder for each class, or in the original layout of Tiny ImageNet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from satm.data.encoded import TEST_NAMES, Encoded, EncodedSplit, Item
from satm.data.passed import PassedOver, class_folders, image_files
from satm.errors import DataError

# A file of Tiny ImageNet. It has one line for each validation image: its file name, the name of its class folder in
# `train`, and the box around its object.
_ANNOTATIONS = "val_annotations.txt"


def open_folder(folder: Path) -> Encoded | None:
    """Return the images in `train` and in a test folder, both inside `folder`; None if there is no folder `train`.

    The images of a class are in `train/<class>`, at any depth. The classes are the folders of `train` in alphabetical
    order. The test folder is called `test`, `valid`, `validation` or `val`. These names are tried in this order, and
    the first folder is used that holds class folders with images (directly, or in a folder `images`) and no folder of a
    class that `train` does not have. So Tiny ImageNet's `test` is skipped: its images have no labels and are in no
    class folders. Tiny ImageNet's `val` has no class folders either, but is used, because a text file in it holds the
    labels.

    The notes of the result say how many files are not read (see `satm.data.passed`). Raises DataError if the training
    or the test part is missing or empty.
    """
    train, passed = folder / "train", PassedOver(folder)
    if not train.is_dir():
        return None
    classes = class_folders(train, passed)
    train_files = _by_class(train, classes, passed)
    if not train_files:
        seen = f" ({passed.notes()[0]})" if passed.found else ""
        raise DataError(f"{train} holds no images; expected {train}/<class>/*.jpg{seen}")
    test_files = _held_out(folder, classes, passed)
    return Encoded(
        where=str(folder),
        train=_split(train_files),
        test=_split(test_files),
        classes=tuple(classes),
        files=tuple(path for path, _ in (*train_files, *test_files)),
        notes=passed.notes(),
    )


def _held_out(folder: Path, classes: list[str], passed: PassedOver) -> list[tuple[Path, int]]:
    # The files and labels of the test images.
    strange = ""
    for name in TEST_NAMES:
        part = folder / name
        if (part / _ANNOTATIONS).is_file():
            return _annotated(part, classes)
        for place in (part, part / "images"):
            over = PassedOver(folder)
            found = class_folders(place, over)
            if found and set(found) <= set(classes) and (files := _by_class(place, classes, over)):
                passed.take(over)
                return files
            if others := sorted(set(found) - set(classes) - {"images"}):
                strange = f"; {place} has the folder {others[0]}, which train has not"
    raise DataError(
        f"{folder} holds train but no test images of its classes{strange}; add test/<class>/*.jpg (or valid, "
        "validation, val)"
    )


def _annotated(part: Path, classes: list[str]) -> list[tuple[Path, int]]:
    # The files and labels of Tiny ImageNet's validation images. They are the test images here, because Tiny ImageNet's
    # own test images have no labels.
    label = {name: number for number, name in enumerate(classes)}
    files = []
    for line in (part / _ANNOTATIONS).read_text().splitlines():
        file, _, rest = line.partition("\t")
        name = rest.partition("\t")[0]
        if name not in label:
            raise DataError(f"{part / _ANNOTATIONS}: '{file}' is of class '{name}', which has no folder in train")
        files.append((part / "images" / file, label[name]))
    if missing := next((path for path, _ in files if not path.is_file()), None):
        raise DataError(f"{missing} is missing, though {_ANNOTATIONS} names it; unpack the archive again")
    return files


def _by_class(parent: Path, classes: list[str], passed: PassedOver) -> list[tuple[Path, int]]:
    # The image files in the folders of `classes` under `parent`, each with the label of its class.
    return [
        (path, label)
        for label, name in enumerate(classes)
        if (parent / name).is_dir()
        for path in image_files(parent / name, passed)
    ]


def _split(files: list[tuple[Path, int]]) -> EncodedSplit:
    def read(rows: torch.Tensor) -> Iterator[Item]:
        for row in rows.tolist():
            yield str(files[row][0]), files[row][0]

    labels = torch.tensor([label for _, label in files], dtype=torch.int64)
    return EncodedSplit(labels=labels, rows=torch.arange(len(files)), read=read)
