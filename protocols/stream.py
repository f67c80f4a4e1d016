"""Makes class-incremental Avalanche streams of labelled images.

A stream is a sequence of experiences. An experience holds the images of one group of classes. This module imports
Avalanche, which takes long. So import this module only inside functions (see `protocols.quiet`).
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
    """The examples at `positions`, read one at a time as Avalanche's data loaders need it.

    Item i is the example at `positions[i]`. If `one_hot` is K, a target that is a class becomes a one-hot vector [K].
    """

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
    """Return an Avalanche benchmark with one experience for each group in its `train_stream` and in its `test_stream`.

    The examples keep their order and their class numbers. `experience.dataset.positions` holds the position of each
    image of the experience in `train` or `test`. Avalanche's own `class_incremental_benchmark` is not used: if the
    classes cannot be divided evenly, it drops the remaining classes without a message (docs/field.md).

    Args:
        train_classes: [n] int64 on the CPU, the class of each training example. It decides only in which experience the
            example is. The targets of the examples are not changed, so they may be soft labels.
        test_classes: [m] int64 on the CPU, the class of each test example.
        groups: the classes of each step.
        one_hot: the number of classes K, or None. If it is K, training targets that are classes become one-hot vectors
            [K], so that they can be in one batch with soft targets.
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
    """Return one Avalanche data set for each group of classes.

    The data set holds the examples that have a class of the group; `classes` [n] is the class of each example. An item
    is (image, target, 0), where 0 is Avalanche's task label. The data sets have no attribute `task_set`, so a strategy
    that reads this attribute, such as LwF, cannot use them.
    """
    return [_of_group(examples, classes, group, one_hot) for group in groups]


def places(stream: Any) -> list[torch.Tensor]:
    """Return for each experience of a stream the positions [m] int64 of its images among the examples."""
    return [torch.tensor(list(experience.dataset.positions)) for experience in stream]


def _of_group(examples: Examples, classes: torch.Tensor, group: Sequence[int], one_hot: int | None) -> Any:
    positions = torch.isin(classes, torch.tensor(group)).nonzero().flatten()
    return AvalancheDataset(
        [_Items(examples, positions, one_hot)],
        data_attributes=[
            DataAttribute(classes[positions].tolist(), "targets"),
            DataAttribute(positions.tolist(), "positions"),
            # Avalanche's DER and ER-ACE read a task label from every batch, even if there is only one task.
            DataAttribute([0] * len(positions), "targets_task_labels", use_in_getitem=True),
        ],
    )
