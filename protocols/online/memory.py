"""The interface of an online memory: it is updated with every batch of the stream, and images are drawn from it.

An online memory consists of an entry in the table `ONLINE_MEMORIES`, and of an object that holds the images of one
stream. To add one, write a file in `protocols/online` that ends with `ONLINE_MEMORIES.add(…)`. Every online protocol
can then use it (`--memory`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from typing import Protocol as TypingProtocol

import torch

from protocols.networks import Networks
from protocols.online.batches import batches_of
from satm.names import Names
from satm.networks import NetworkPlan
from satm.rng import Seed
from satm.types import Images


@dataclass(frozen=True, kw_only=True)
class OnlineContext:
    """The input of an online memory on one stream."""

    networks: Networks
    capacity: int  # M, the largest number of images that the memory holds


class OnlineMemory(TypingProtocol):
    """The images that are kept of one stream. They change while the stream runs."""

    def __len__(self) -> int:
        """The number of images that are held now, at most M."""

    def begin(self, classes: Sequence[int], seed: Seed) -> None:
        """Begin an incremental step, in which images of `classes` arrive. All draws of the step come from `seed`."""

    def update(self, images: Images, labels: torch.Tensor) -> None:
        """Take a batch of the stream: preprocessed images [b, C, H, W] and their classes [b] int64."""

    def sample(self, count: int, generator: torch.Generator) -> tuple[Images, torch.Tensor]:
        """Draw `count` different images [count, C, H, W] with their classes [count]; fewer if fewer are held."""

    def held(self) -> tuple[Images, torch.Tensor]:
        """All images [n, C, H, W] that are held now, and their classes [n] int64."""

    def state(self) -> dict[str, torch.Tensor]:
        """The tensors, by name, from which `restore` continues after a step."""

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Load a `state` that was saved after a step."""


@dataclass(frozen=True, kw_only=True)
class StreamFacts:
    """What is known of a stream and its memory before the stream runs."""

    capacity: int  # M
    plan: NetworkPlan  # the plan of the learner's network, with the number of classes and the shape of the images
    batch_size: int  # the number of images in a batch of the stream
    # The pairs (number of classes, number of images of its smallest class) of the steps, each pair once.
    shown: tuple[tuple[int, int], ...]

    @property
    def batches(self) -> int:
        """The number of batches of the shortest step; see `batches_of`."""
        return min(batches_of(classes, images, self.batch_size) for classes, images in self.shown)


@dataclass(frozen=True, kw_only=True)
class MemoryCost:
    """What an online memory costs, by the rules of `satm.workflow.incremental.memories`.

    A real image has one byte for each value, an image with float32 values has four. Hard labels are not counted.
    """

    images: int  # the largest number of images that the memory holds
    size: int  # their bytes
    # The bytes of the real images that the memory reads again and does not offer for replay. They are not part of
    # `size`, because the publications do not count them.
    queue: int = 0


@dataclass(frozen=True, kw_only=True)
class OnlineMemoryKind:
    """An entry of the table `ONLINE_MEMORIES`."""

    name: str
    summary: str  # one line for lists, with the source
    begin: Callable[[OnlineContext, Any], OnlineMemory]  # (stream, settings) → an empty memory
    config: type[Any]  # the class of the memory's settings, a frozen dataclass
    cost: Callable[[Any, StreamFacts], MemoryCost]  # (settings, stream) → the cost of the memory
    # (settings, stream) → nothing. Raises ConfigError for settings that cannot work on this stream.
    check: Callable[[Any, StreamFacts], None] = lambda config, facts: None
    # Changes of the config's defaults for smaller runs, by scale ("cpu" or "smoke").
    scales: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def configured(self, scale: str) -> Any:
        """The config with the defaults of a scale: `paper`, `cpu` or `smoke`."""
        return self.config(**self.scales.get(scale, {}))


ONLINE_MEMORIES: Names[OnlineMemoryKind] = Names("online memory", package="protocols.online")


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """An online memory that a user chose: its kind, its settings and its size M."""

    kind: OnlineMemoryKind
    config: Any  # an object of the class `kind.config`
    capacity: int  # M

    def begin(self, networks: Networks) -> OnlineMemory:
        """An empty memory for one stream."""
        return self.kind.begin(OnlineContext(networks=networks, capacity=self.capacity), self.config)
