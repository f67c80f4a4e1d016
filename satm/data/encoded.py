"""A data set of encoded images (PNG, JPEG …). Its labels are in RAM, and its images are read one by one when needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import torch

from satm.data.catalogue import DatasetSpec
from satm.errors import DataError
from satm.types import Labels

TEST_NAMES = ("test", "valid", "validation", "val")  # the names that the test part can have, tried in this order

Item: TypeAlias = tuple[str, Path | bytes]
"""One image: its name for error messages, and the path of its file or its encoded bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedSplit:
    """The training or the test part of a source of images."""

    labels: Labels  # [n] int64, the labels of the n images
    rows: torch.Tensor  # [n] int64, ascending: the position of each image among all images of the part in the files
    read: Callable[[torch.Tensor], Iterator[Item]]  # a function from rows to the images at these rows, in that order

    def __len__(self) -> int:
        return len(self.labels)

    def items(self) -> Iterator[Item]:
        """Every image of the part, in the order of `labels`."""
        return self.read(self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """A source of encoded images (a folder of image files or of Parquet files): a training part and a test part."""

    where: str  # the path of the folder, for messages
    train: EncodedSplit
    test: EncodedSplit
    classes: tuple[str, ...] | None  # the names of the classes in label order; None if the source does not name them
    files: tuple[Path, ...]  # all files that are read
    notes: tuple[str, ...] = ()  # one line for each message to the user, such as how many files are not read


def imagenet_subset(source: Encoded, spec: DatasetSpec) -> Encoded:
    """Only the images of the classes in `spec.subset`, with labels in the order of `spec.subset`.

    `source` holds ImageNet-1K, or only the classes of the subset. The classes are found in the source in one of these
    ways, and the first that applies is used:
    1. The source names its classes by WordNet id or by the class names of `spec`.
    2. The source has 1,000 classes. They are taken to be in the order of ImageNet-1K.
    3. The source has exactly as many classes as `spec`. It is returned with its own order and names of the classes.
    Raises DataError for any other source.
    """
    ids = {name: label for label, name in enumerate(source.classes or ())}
    count = len(ids) or int(source.train.labels.max()) + 1
    if all(wnid in ids for _, wnid, _ in spec.subset):
        wanted = [ids[wnid] for _, wnid, _ in spec.subset]
    elif all(name in ids for _, _, name in spec.subset):
        wanted = [ids[name] for _, _, name in spec.subset]
    elif count == 1000:
        wanted = [index for index, _, _ in spec.subset]
    elif count == len(spec.subset):
        return source if source.classes else replace(source, classes=tuple(map(str, range(count))))
    else:
        raise DataError(
            f"{source.where} has {count} classes; expected the {len(spec.subset)} of {spec.name} (folders named "
            f"{spec.subset[0][1]} …) or ImageNet's 1000"
        )
    return replace(source, train=_relabelled(source.train, wanted), test=_relabelled(source.test, wanted), classes=None)


def _relabelled(split: EncodedSplit, wanted: list[int]) -> EncodedSplit:
    match = split.labels[:, None] == torch.tensor(wanted)
    keep = match.any(1)
    return replace(split, labels=match[keep].int().argmax(1), rows=split.rows[keep])
