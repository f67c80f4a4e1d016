"""The input of one class-incremental run, checked before Avalanche is imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from protocols.base import ClassIncremental, LabelledExamples
from protocols.buffer import check_buffer
from protocols.networks import Networks
from satm.errors import ConfigError, DataError
from satm.rng import Seed
from satm.synthetic import SyntheticSet


@dataclass(frozen=True, kw_only=True)
class StreamJob:
    """One protocol, one memory, one class order and one network seed.

    Raises ConfigError if `groups` do not hold every class once, if a memory is missing or not wanted, or if a buffer
    does not hold one image of each class. Raises DataError if the memory or the test images have other classes than the
    networks, or if a step has no image to learn from or no test image.
    """

    protocol: ClassIncremental
    config: Any  # of the protocol
    memory: SyntheticSet | None  # None for a protocol without a memory
    train: LabelledExamples  # real images: read only by a protocol that `reads` them
    test: LabelledExamples
    groups: tuple[tuple[int, ...], ...]  # the classes of each step
    networks: Networks
    seed: Seed
    buffer: int | None = None  # stored images that the memory holds from the start; None: it grows with the classes

    def __post_init__(self) -> None:
        self._check_classes()
        self._check_test_labels()
        self._check_every_step(self.test_classes, "there is no test image of its classes")
        if self.memory is not None:
            self._check_every_step(self.memory_classes, "the memory holds no image of its classes")
        if self.protocol.reads == "real":
            self._check_every_step(self.train_classes, "there is no training image of its classes")

    @property
    def num_classes(self) -> int:
        """K."""
        return self.networks.plan.num_classes

    @property
    def test_classes(self) -> torch.Tensor:
        """[n] int64 on the CPU: the class of each test image."""
        return self.test.labels.cpu()

    @property
    def train_classes(self) -> torch.Tensor:
        """[n] int64 on the CPU: the class of each real training image."""
        return self.train.labels.cpu()

    @property
    def memory_classes(self) -> torch.Tensor:
        """[n] int64 on the CPU: the class of each image that networks see of the memory. Its target may be soft."""
        assert self.memory is not None
        return self.memory.decoded.hard_labels.cpu()

    @property
    def each(self) -> int:
        """How many images networks see of each stored one; 1 without a memory."""
        return 1 if self.memory is None else self.memory.parametrisation.each

    @property
    def absent(self) -> list[str]:
        """The names of the classes that have no image in the memory; [] without a memory."""
        if self.memory is None:
            return []
        held = set(self.memory_classes.tolist())
        return [name for label, name in enumerate(self.memory.classes) if label not in held]

    def _check_classes(self) -> None:
        order = [label for group in self.groups for label in group]
        if sorted(order) != list(range(self.num_classes)):
            raise ConfigError(
                f"steps of classes {[list(group) for group in self.groups]}: expected each of 0 to "
                f"{self.num_classes - 1} once"
            )
        if self.protocol.memory != (self.memory is not None):
            raise ConfigError(
                f"protocol {self.protocol.name} needs a memory; give it one"
                if self.protocol.memory
                else f"protocol {self.protocol.name} keeps no memory; leave it out"
            )
        if self.memory is not None and len(self.memory.classes) != self.num_classes:
            raise DataError(
                f"a memory of {len(self.memory.classes)} classes for networks of {self.num_classes}; take another set"
            )
        if self.buffer is not None:
            check_buffer(self.buffer, self.num_classes)

    def _check_test_labels(self) -> None:
        labels = self.test_classes
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < self.num_classes:
            raise DataError(
                f"test labels reach from {int(labels.min())} to {int(labels.max())}; "
                f"the networks have {self.num_classes} classes, so take the test images of the same data set"
            )

    def _check_every_step(self, classes: torch.Tensor, complaint: str) -> None:
        count = len(self.groups)
        for step, group in enumerate(self.groups):
            if not torch.isin(classes, torch.tensor(group)).any():
                raise DataError(f"step {step + 1} of {count}, classes {list(group)}: {complaint}; take fewer steps")
