"""`reservoir`: an online memory of real images, a uniform sample of the stream so far (Vitter 1985, Algorithm R)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch

from protocols.online.memory import ONLINE_MEMORIES, MemoryCost, OnlineContext, OnlineMemoryKind
from satm.networks import NetworkPlan
from satm.rng import Seed
from satm.types import Images


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservoirConfig:
    """A reservoir has no settings."""


class Reservoir:
    """An `OnlineMemory` of M real images.

    The first M images of the stream are stored. Image number n after them (counted from 1) draws a place j from 1..n,
    and replaces the image there if j ≤ M. So after n images, each of them is in the memory with probability M/n.

    Optionally, `slots` places belong to each class (SSD). The first `slots` images of a class take them. If the memory
    is already full, such an image replaces a random image that is in no slot. An image in a slot is never replaced.

    Differences from SSD's code (utils/buffer/summarize_update.py at 7fe1000): it draws j from the images before the
    current batch, so it replaces slightly more often.
    """

    def __init__(self, context: OnlineContext, *, slots: int = 0) -> None:
        shape, device = context.networks.plan.image_shape, context.networks.device
        self._images = torch.zeros(context.capacity, *shape, device=device)  # [M, C, H, W]
        self._labels = torch.full((context.capacity,), -1)  # [M], on the CPU; −1: the place is empty
        self._in_slot = torch.zeros(context.capacity, dtype=torch.bool)  # [M], on the CPU
        self._slots = slots
        self._seen = 0  # the number of images of the stream so far
        self._generator = torch.Generator()

    def __len__(self) -> int:
        return int((self._labels >= 0).sum())

    def begin(self, classes: Sequence[int], seed: Seed) -> None:
        """See `OnlineMemory`."""
        self._generator = seed.child("places").generator()

    def update(self, images: Images, labels: torch.Tensor) -> None:
        """See `OnlineMemory`."""
        for image, label in zip(images, labels.tolist(), strict=True):
            self._take(image, label)

    def sample(self, count: int, generator: torch.Generator) -> tuple[Images, torch.Tensor]:
        """See `OnlineMemory`."""
        return self._at(drawn(self._filled, count, generator))

    def held(self) -> tuple[Images, torch.Tensor]:
        """See `OnlineMemory`."""
        return self._at(self._filled)

    def state(self) -> dict[str, torch.Tensor]:
        """See `OnlineMemory`."""
        return {
            "images": self._images.cpu().clone(),
            "labels": self._labels.clone(),
            "in_slot": self._in_slot.clone(),
            "seen": torch.tensor(self._seen),
        }

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """See `OnlineMemory`."""
        self._images.copy_(state["images"])
        self._labels.copy_(state["labels"])
        self._in_slot.copy_(state["in_slot"])
        self._seen = int(state["seen"])

    @property
    def _filled(self) -> torch.Tensor:
        """The places [n] int64 that hold an image."""
        return (self._labels >= 0).nonzero().flatten()

    def _slots_of(self, label: int) -> torch.Tensor:
        """The places [n] int64 of the slots of a class, in the order of the places."""
        return (self._in_slot & (self._labels == label)).nonzero().flatten()

    def _at(self, places: torch.Tensor) -> tuple[Images, torch.Tensor]:
        """The images and classes at `places`. The classes are on the device of the images."""
        return self._images[places.to(self._images.device)], self._labels[places].to(self._images.device)

    def _take(self, image: torch.Tensor, label: int) -> bool:
        """Store an image of the stream or pass over it. Returns whether it took a slot of its class."""
        self._seen += 1
        for_slot = len(self._slots_of(label)) < self._slots
        filled = len(self)
        if filled < len(self._labels):
            place = filled
        elif for_slot:
            place = int(drawn((~self._in_slot).nonzero().flatten(), 1, self._generator))
        else:
            place = int(torch.randint(self._seen, (1,), generator=self._generator))
            if place >= len(self._labels) or self._in_slot[place]:
                return False
        self._images[place] = image
        self._labels[place] = label
        self._in_slot[place] = for_slot
        return for_slot


def drawn(places: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """`count` of the `places` [n], without repetition; all of them if there are fewer."""
    return places[torch.randperm(len(places), generator=generator)[:count]]


def pixels(plan: NetworkPlan) -> int:
    """The number of values of one image, which is the number of bytes of a real image."""
    return prod(plan.image_shape)


ONLINE_MEMORIES.add(
    OnlineMemoryKind(
        name="reservoir",
        summary="real images, a uniform sample of the stream so far (Vitter 1985)",
        begin=lambda context, config: Reservoir(context),
        config=ReservoirConfig,
        cost=lambda config, facts: MemoryCost(images=facts.capacity, size=facts.capacity * pixels(facts.plan)),
    )
)
