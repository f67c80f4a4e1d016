"""Class-incremental Avalanche streams of labelled images: one experience for each group of classes.

This module imports Avalanche, so import it inside functions (`protocols.run`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from avalanche.benchmarks import benchmark_from_datasets
from avalanche.benchmarks.scenarios.supervised import with_classes_timeline
from avalanche.benchmarks.utils import AvalancheDataset
from avalanche.benchmarks.utils.data_attribute import DataAttribute
from torch.nn import functional as F
from torch.utils.data import Dataset

from satm.types import Examples, Images


class _Items(Dataset[tuple[Images, torch.Tensor]]):
    """Examples read one at a time, as Avalanche's data loaders read them."""

    def __init__(self, examples: Examples, positions: torch.Tensor, one_hot: int | None) -> None:
        self.examples, self.positions, self.one_hot = examples, positions, one_hot

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: int) -> tuple[Images, torch.Tensor]:
        images, targets = self.examples.batch(self.positions[index : index + 1])
        if self.one_hot is not None and targets.ndim == 1:
            targets = F.one_hot(targets, self.one_hot).to(images.dtype)
        return images[0], targets[0]


def class_incremental(
    train: Examples,
    train_classes: torch.Tensor,
    test: Examples,
    test_classes: torch.Tensor,
    groups: Sequence[Sequence[int]],
    *,
    one_hot: int | None = None,
) -> Any:
    """An Avalanche benchmark. Its `train_stream` and `test_stream` hold one experience for each group of classes.

    The examples keep their order and their class numbers; `experience.dataset.positions` gives the position of each
    among the examples. Avalanche's own `class_incremental_benchmark` drops a remainder of classes without a message
    (docs/field.md).

    Args:
        train_classes: [n] int64 on the CPU, the class that each training example counts as. The targets stay what the
            examples give, so soft labels pass through.
        test_classes: the same for the test examples.
        groups: the classes of each step.
        one_hot: the number of classes K. Train targets that are classes become vectors [K], so that they can share a
            batch with soft targets.
    """
    return with_classes_timeline(
        benchmark_from_datasets(
            train=split(train, train_classes, groups, one_hot=one_hot),
            test=split(test, test_classes, groups),
        )
    )


def split(
    examples: Examples, classes: torch.Tensor, groups: Sequence[Sequence[int]], *, one_hot: int | None = None
) -> list[Any]:
    """One Avalanche data set for each group: the examples whose `classes` [n] are in it, as (image, target, 0).

    0 is Avalanche's task label. The data sets have no `task_set`: a strategy that reads it, as LwF, cannot use them.
    """
    return [_of_group(examples, classes, group, one_hot) for group in groups]


def places(stream: Any) -> list[torch.Tensor]:
    """For each experience of a stream, the positions [m] int64 of its images among the examples."""
    return [torch.tensor(list(experience.dataset.positions)) for experience in stream]


def _of_group(examples: Examples, classes: torch.Tensor, group: Sequence[int], one_hot: int | None) -> Any:
    positions = torch.isin(classes, torch.tensor(group)).nonzero().flatten()
    return AvalancheDataset(
        [_Items(examples, positions, one_hot)],
        data_attributes=[
            DataAttribute(classes[positions].tolist(), "targets"),
            DataAttribute(positions.tolist(), "positions"),
            # DER and ER-ACE read a task label from every batch, even if there is only one task.
            DataAttribute([0] * len(positions), "targets_task_labels", use_in_getitem=True),
        ],
    )
