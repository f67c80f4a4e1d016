"""A data set of encoded images (PNG, JPEG …). Its labels are in RAM; each image is read only when it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import torch

from satm.data.catalogue import DatasetSpec
from satm.errors import DataError
from satm.types import Labels

TEST_NAMES = ("test", "valid", "validation", "val")  # names of the test part in the files, tried in this order

Item: TypeAlias = tuple[str, Path | bytes]
"""(the name of one image for error messages, the encoded image: the path of its file, or its bytes)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedSplit:
    """The training or the test part of a source of images."""

    labels: Labels  # [n] int64, the labels of the n images
    # [n] int64, ascending: the position of each image among all images that the files of this part hold. The positions
    # are 0 … n − 1, unless only some classes are used (`imagenet_subset`).
    rows: torch.Tensor
    read: Callable[[torch.Tensor], Iterator[Item]]  # returns the images at the given rows (ascending), in this order

    def __len__(self) -> int:
        return len(self.labels)

    def items(self) -> Iterator[Item]:
        """Every image of the part, in the order of `labels`."""
        return self.read(self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """A source of images: a folder of image files or of Parquet files, with a training part and a test part."""

    where: str  # the path of the folder, for messages
    train: EncodedSplit
    test: EncodedSplit
    classes: tuple[str, ...] | None  # the names of the classes in label order; None if the source does not name them
    files: tuple[Path, ...]  # the files that hold the images of both parts
    notes: tuple[str, ...] = ()  # messages to the user, one line each, such as how many files are not read


def imagenet_subset(source: Encoded, spec: DatasetSpec) -> Encoded:
    """Return the part of `source` that holds the classes in `spec.subset`.

    `source` holds ImageNet-1K, or only the classes of the subset. The first of these cases that applies decides:
    1. `source` names its classes by their WordNet ids, or as `spec.subset` does. The classes are found by these names.
    2. `source` has 1,000 classes. They are taken to be in the order of ImageNet-1K.
    3. `source` has exactly as many classes as the subset. All are used, with the labels that they have in `source`.
    In cases 1 and 2, the new labels are 0, 1 … in the order of `spec.subset`, and the result names no classes. In case
    3, the result names the classes as `source` does, or by their numbers. Raises DataError for any other source.
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
