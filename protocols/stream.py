"""Class-incremental Avalanche streams over labelled images: one experience a group of classes.

Imports Avalanche, so it is itself imported where used (`protocols.gdumb`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from avalanche.benchmarks import benchmark_from_datasets
from avalanche.benchmarks.scenarios.supervised import with_classes_timeline
from avalanche.benchmarks.utils import AvalancheDataset
from avalanche.benchmarks.utils.data_attribute import DataAttribute
from torch.utils.data import Dataset

from satm.types import Examples, Images


class _Items(Dataset[tuple[Images, torch.Tensor]]):
    """Examples read one at a time, as Avalanche's data loaders do."""

    def __init__(self, examples: Examples, positions: torch.Tensor) -> None:
        self.examples, self.positions = examples, positions

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: int) -> tuple[Images, torch.Tensor]:
        images, targets = self.examples.batch(self.positions[index : index + 1])
        return images[0], targets[0]


def class_incremental(
    train: Examples,
    train_classes: torch.Tensor,
    test: Examples,
    test_classes: torch.Tensor,
    groups: Sequence[Sequence[int]],
) -> Any:
    """An Avalanche benchmark whose `train_stream` and `test_stream` hold one experience for each group of classes.

    `train_classes` and `test_classes` [n] int64 on the CPU say which class each example counts as; the targets stay
    what the examples give, so soft labels pass through. The examples keep their order and their class numbers.
    Avalanche's own `class_incremental_benchmark` drops a remainder of classes in silence (field notes §3.3).
    """
    return with_classes_timeline(
        benchmark_from_datasets(
            train=[_of_group(train, train_classes, group) for group in groups],
            test=[_of_group(test, test_classes, group) for group in groups],
        )
    )


def _of_group(examples: Examples, classes: torch.Tensor, group: Sequence[int]) -> Any:
    positions = torch.isin(classes, torch.tensor(group)).nonzero().flatten()
    targets = DataAttribute(classes[positions].tolist(), "targets")
    return AvalancheDataset([_Items(examples, positions)], data_attributes=[targets])
