"""A data set whose images are still encoded (PNG, JPEG …): its labels are in RAM, its images are read one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import torch

from satm.data.catalogue import DatasetSpec
from satm.errors import DataError
from satm.types import Labels

TEST_NAMES = ("test", "valid", "validation", "val")  # names of the held-out part, tried in this order

Item: TypeAlias = tuple[str, Path | bytes]
"""An image's name for error messages, and the image: a file, or its encoded bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedSplit:
    """One part of a source. Its labels are in RAM, and its images are read when they are needed."""

    labels: Labels  # [n] int64
    rows: torch.Tensor  # [n] int64, ascending: their positions in the source
    read: Callable[[torch.Tensor], Iterator[Item]]  # rows → their images, in that order

    def __len__(self) -> int:
        return len(self.labels)

    def items(self) -> Iterator[Item]:
        """Every image, in the order of the labels."""
        return self.read(self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """A source of encoded images: a training part and a test part."""

    where: str  # the folder, for messages
    train: EncodedSplit
    test: EncodedSplit
    classes: tuple[str, ...] | None  # names by label; None if the source has none
    files: tuple[Path, ...]  # all files that are read
    notes: tuple[str, ...] = ()  # what the user should know, such as files that are passed over, a line each


def imagenet_subset(source: Encoded, spec: DatasetSpec) -> Encoded:
    """The classes of `spec`, in its order. The source is ImageNet-1K, or a folder that holds only these classes.

    If the source names its classes by WordNet id or by class name, they are found by these. If not, a source of 1,000
    classes is taken in the order of ImageNet-1K. A source with exactly as many classes as `spec` keeps its own order
    and names. Raises DataError for any other source.
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
