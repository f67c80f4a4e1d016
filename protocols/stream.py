"""Makes Avalanche streams of labelled images.

A stream is a sequence of experiences. An experience holds the images of one incremental step. This module imports
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

from protocols.order import by_class
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


def incremental(train: Sequence[Any], test: Sequence[Any]) -> Any:
    """Return an Avalanche benchmark with one experience for each data set in its `train_stream` and `test_stream`.

    `train` and `test` are results of `parts`. The examples keep their order and their class numbers.
    `experience.dataset.positions` holds the position of each image of the experience among all examples. Avalanche's
    own `class_incremental_benchmark` is not used: if the classes cannot be divided evenly, it drops the remaining
    classes without a message (docs/field.md).
    """
    return with_classes_timeline(benchmark_from_datasets(train=train, test=test))


def split(examples: Examples, classes: torch.Tensor, groups: Sequence[Sequence[int]]) -> list[Any]:
    """Return one Avalanche data set for each group of classes. `classes` [n] is the class of each example."""
    return parts(examples, classes, by_class(classes, groups))


def parts(
    examples: Examples, classes: torch.Tensor, places: Sequence[torch.Tensor], *, one_hot: int | None = None
) -> list[Any]:
    """Return one Avalanche data set for each step, which holds the examples at the positions of this step.

    An item is (image, target, 0), where 0 is Avalanche's task label. The data sets have no attribute `task_set`, so a
    strategy that reads this attribute, such as LwF, cannot use them.

    Args:
        classes: [n] int64 on the CPU, the class of each example. The targets of the examples are not changed, so they
            may be soft labels.
        places: for each step, positions [m] int64.
        one_hot: the number of classes K, or None. If it is K, targets that are classes become one-hot vectors [K], so
            that they can be in one batch with soft targets.
    """
    return [_at(examples, classes, positions, one_hot) for positions in places]


def places(stream: Any) -> list[torch.Tensor]:
    """Return for each experience of a stream the positions [m] int64 of its images among the examples."""
    return [torch.tensor(list(experience.dataset.positions)) for experience in stream]


def _at(examples: Examples, classes: torch.Tensor, positions: torch.Tensor, one_hot: int | None) -> Any:
    return AvalancheDataset(
        [_Items(examples, positions, one_hot)],
        data_attributes=[
            DataAttribute(classes[positions].tolist(), "targets"),
            DataAttribute(positions.tolist(), "positions"),
            # Avalanche's DER and ER-ACE read a task label from every batch, even if there is only one task.
            DataAttribute([0] * len(positions), "targets_task_labels", use_in_getitem=True),
        ],
    )
