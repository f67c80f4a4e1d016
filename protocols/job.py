"""The input of one class-incremental run, and its checks.

The input is checked before Avalanche is imported, because this import takes long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch

from protocols.base import ClassIncremental, LabelledExamples, StreamContext
from protocols.buffer import check_buffer
from protocols.networks import Networks
from protocols.online.memory import Keeping
from protocols.order import by_class
from satm.errors import ConfigError, DataError
from satm.rng import Seed
from satm.synthetic import SyntheticSet

Part: TypeAlias = Literal["train", "test", "memory"]


@dataclass(frozen=True, kw_only=True)
class Arrivals:
    """The step, counted from 0, in which each example of a domain-incremental stream arrives."""

    train: torch.Tensor  # [n] int64 on the CPU, for the real training images
    test: torch.Tensor  # [m] int64 on the CPU, for the real test images
    memory: torch.Tensor  # [k] int64 on the CPU, for the decoded images of the memory; [0] without a memory


@dataclass(frozen=True, kw_only=True)
class StreamJob:
    """A run of one protocol with one memory, one order of arrival and one network seed.

    Raises ConfigError if `groups` do not contain every class exactly once (with `arrivals`: if not every group contains
    all classes), if the protocol needs a memory (given or online) and there is none, if there is a memory and the
    protocol uses none, if the protocol is online and domains arrive, or if a buffer is too small for one image of each
    class. Raises DataError if the memory or the test images have other classes than the networks, and if there is no
    test image of a step's classes, no memory image of them, or no real training image of them (if the protocol uses
    these).
    """

    protocol: ClassIncremental
    config: Any  # the settings of the protocol, an object of the class `protocol.config`
    # The images of the memory; None for a protocol without a memory. The caller makes this set in one of two ways: it
    # was condensed from all classes together, or it joins sets that were condensed separately, one for each step.
    memory: SyntheticSet | None
    train: LabelledExamples  # the real training images; used only by a protocol with `reads` = "real"
    test: LabelledExamples  # the real test images
    groups: tuple[tuple[int, ...], ...]  # the classes that arrive in each step
    networks: Networks
    seed: Seed
    buffer: int | None = None  # the size of the memory in stored images; None: it keeps every image that arrives
    # For a domain-incremental stream, when each example arrives. None: its class decides.
    arrivals: Arrivals | None = None
    keeping: Keeping | None = None  # the memory that an online protocol makes; None for all other protocols

    def __post_init__(self) -> None:
        self._check_classes()
        self._check_test_labels()
        self._check_every_step("test", "there is no test image of its classes")
        if self.memory is not None:
            self._check_every_step("memory", "the memory holds no image of its classes")
        if self.protocol.reads == "real":
            self._check_every_step("train", "there is no training image of its classes")

    @property
    def num_classes(self) -> int:
        """The number K of classes."""
        return self.networks.plan.num_classes

    @property
    def test_classes(self) -> torch.Tensor:
        """The class of each test image: [n] int64 on the CPU."""
        return self.test.labels.cpu()

    @property
    def train_classes(self) -> torch.Tensor:
        """The class of each real training image: [n] int64 on the CPU."""
        return self.train.labels.cpu()

    @property
    def memory_classes(self) -> torch.Tensor:
        """The class of each decoded image of the memory: [n] int64 on the CPU.

        The images are decoded into those that networks are trained on (see `each`). The training target of an image may
        be soft; its class here is that of `SyntheticSet.hard_labels`.
        """
        assert self.memory is not None
        return self.memory.decoded.hard_labels.cpu()

    def classes_of(self, part: Part) -> torch.Tensor:
        """The class of each example of a part: [n] int64 on the CPU."""
        if part == "memory":
            return self.memory_classes
        return self.train_classes if part == "train" else self.test_classes

    def places(self, part: Part) -> list[torch.Tensor]:
        """For each step, the positions [m] int64 of the examples of a part that arrive in this step."""
        if self.arrivals is None:
            return by_class(self.classes_of(part), self.groups)
        steps = getattr(self.arrivals, part)
        return [(steps == step).nonzero().flatten() for step in range(len(self.groups))]

    @property
    def each(self) -> int:
        """How many images for the networks are made from each stored image of the memory; 1 without a memory."""
        return 1 if self.memory is None else self.memory.parametrisation.each

    def context(self, arriving: tuple[Any, ...]) -> StreamContext:
        """The input of the learner. `arriving` has an Avalanche data set for each step, or is () without a memory."""
        return StreamContext(
            networks=self.networks,
            seed=self.seed,
            arriving=arriving,
            buffer=self.buffer,
            each=self.each,
            keeping=self.keeping,
        )

    @property
    def absent(self) -> list[str]:
        """The names of the classes without an image in the memory; [] for a protocol without a memory."""
        if self.memory is None:
            return []
        held = set(self.memory_classes.tolist())
        return [name for label, name in enumerate(self.memory.classes) if label not in held]

    def _check_classes(self) -> None:
        every = list(range(self.num_classes))
        once = [[label for group in self.groups for label in group]] if self.arrivals is None else self.groups
        if any(sorted(labels) != every for labels in once):
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
        if self.protocol.online != (self.keeping is not None):
            raise ConfigError(
                f"protocol {self.protocol.name} needs an online memory; give it one"
                if self.protocol.online
                else f"protocol {self.protocol.name} keeps no online memory; leave it out"
            )
        if self.protocol.online and self.arrivals is not None:
            raise ConfigError(f"protocol {self.protocol.name} makes a memory of classes that arrive; leave domains out")
        if self.memory is not None and len(self.memory.classes) != self.num_classes:
            raise DataError(
                f"a memory of {len(self.memory.classes)} classes for networks of {self.num_classes}; take another set"
            )
        if self.buffer is not None:
            check_buffer(self.buffer, self.num_classes, 1 if self.arrivals is None else len(self.groups))

    def _check_test_labels(self) -> None:
        labels = self.test_classes
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < self.num_classes:
            raise DataError(
                f"test labels reach from {int(labels.min())} to {int(labels.max())}; "
                f"the networks have {self.num_classes} classes, so take the test images of the same data set"
            )

    def _check_every_step(self, part: Part, complaint: str) -> None:
        count = len(self.groups)
        for step, (group, positions) in enumerate(zip(self.groups, self.places(part), strict=True)):
            if not len(positions):
                raise DataError(f"step {step + 1} of {count}, classes {list(group)}: {complaint}; take fewer steps")
