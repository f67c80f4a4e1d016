"""`ssd`: an online memory whose images are improved while the stream runs (SSD, Gu et al. 2024).

Each class has a number of slots. They start as the first real images of the class. Every few batches, the images in the
slots of the present classes take a step by which they give a network the gradients that the last real images give it.
The places that are in no slot hold real images, as in `reservoir`.

Source: the paper (arXiv 2305.16645) and the code (github.com/vimar-gu/SSD at 7fe1000).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from protocols.online.batches import batches_of
from protocols.online.matching import summary_loss
from protocols.online.memory import ONLINE_MEMORIES, MemoryCost, OnlineContext, OnlineMemoryKind, StreamFacts
from protocols.online.reservoir import Reservoir, drawn, pixels
from satm.augment import named
from satm.errors import ConfigError
from satm.networks import plan as plan_network
from satm.rng import Seed
from satm.types import Images

AUGMENTATION = "color+crop"
"""The augmentation of real and summarised images before they are compared. Each image has its own draw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SSDConfig:
    """The settings of SSD. The defaults are those of its command for CIFAR-100 (README.md and general_main.py).

    A name in brackets is the name in SSD's code. Raises ConfigError for a value out of its range.
    """

    slots: int | None = None  # images of each class that are improved (images_per_class); None: M // K, all places
    # The learning rate of the images, in the space of the set. SSD's is 4e-3 for pixels in 0..1 (lr_img). The space
    # divides pixels by a std of about 0.25, so 16 times as much is the same step.
    learning_rate: float = 0.064
    momentum: float = 0.9  # the momentum of the images
    interval: int = 6  # the images take a step every this many batches (summarize_interval)
    queue: int = 64  # the number of last batches whose real images are matched (queue_size)
    relation_weight: float = 1.0  # w, the weight of the relationship to images of earlier steps (mem_weight)
    relation_images: int = 10  # the number of images of earlier steps in it (mem_sim_num)
    network: str = "convnet3"  # the network that gives the gradients; it is trained on the stream
    network_learning_rate: float = 0.01
    network_momentum: float = 0.9
    replayed: int = 10  # real images of the memory with which the network is trained beside each batch

    def __post_init__(self) -> None:
        for name in ("interval", "queue"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} {getattr(self, name)}: expected 1 or more")
        for name in ("relation_images", "replayed"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} {getattr(self, name)}: expected 0 or more")
        if self.slots is not None and self.slots < 1:
            raise ConfigError(f"slots {self.slots}: expected 1 or more images of each class")
        for name in ("learning_rate", "relation_weight", "network_learning_rate"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} {getattr(self, name)}: expected a finite number of 0 or more")
        for name in ("momentum", "network_momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} {getattr(self, name)}: expected 0 or more, and less than 1")

    def first_chance(self, filled: int) -> int:
        """The number, counted from 0, of the first batch of a step in which images can be improved.

        It is the first multiple of the interval at which the queue is full and the slots were full before. `filled` is
        the number of batches until the slots of the step's classes are full.
        """
        return -(-max(self.queue - 1, filled) // self.interval) * self.interval

    def slots_for(self, capacity: int, classes: int) -> int:
        """The number of slots of each of K = `classes` classes in a memory of M = `capacity` images."""
        return capacity // classes if self.slots is None else self.slots


class SummarisedStream(Reservoir):
    """An `OnlineMemory` with slots whose images are improved by SGD on `summary_loss`.

    With each batch of the stream, in this order:

    1. The images of the batch take slots and places (see `Reservoir`), and join the queue of the last batches.
    2. If the number of the batch in its step is a multiple of the interval, the queue is full, every slot of the step's
       classes is taken and no slot was taken just now: for each class of the batch in turn, all images in the slots of
       the step's classes take one step of SGD with momentum. Only the loss of this class has a gradient. So the images
       of the other classes move by their momentum alone, as in SSD's code. What a class has become is stored at its
       turn.
    3. The matching network takes steps of SGD on the batch and on real images of the memory, in batches of the same
       size.

    Queue, matching network and momentum begin anew in each incremental step.
    """

    def __init__(self, context: OnlineContext, config: SSDConfig) -> None:
        networks = context.networks
        super().__init__(context, slots=config.slots_for(context.capacity, networks.plan.num_classes))
        self._config, self._device = config, networks.device
        self._plan = plan_network(
            config.network, num_classes=networks.plan.num_classes, image_shape=networks.plan.image_shape
        )

    def begin(self, classes: Sequence[int], seed: Seed) -> None:
        """See `OnlineMemory`."""
        super().begin(classes, seed)
        old = set(self._labels[self._in_slot].tolist())
        self._arriving, self._seen_classes = sorted(classes), sorted(old | set(classes))
        self._network = self._plan.create(seed.child("matching network")).to(self._device).train()
        self._network_optimizer = torch.optim.SGD(
            self._network.parameters(), lr=self._config.network_learning_rate, momentum=self._config.network_momentum
        )
        self._queue: deque[tuple[Images, torch.Tensor]] = deque(maxlen=self._config.queue)
        self._batches = 0
        self._learned: torch.Tensor | None = None  # the images in the slots of the step's classes, while they learn
        self._draws = seed.child("matching").generator()

    def update(self, images: Images, labels: torch.Tensor) -> None:
        """See `OnlineMemory`."""
        slots_taken = [self._take(image, label) for image, label in zip(images, labels.tolist(), strict=True)]
        self._queue.append((images, labels))
        full = len(self._queue) == self._config.queue
        complete = all(len(self._slots_of(label)) == self._slots for label in self._arriving)
        if self._batches % self._config.interval == 0 and full and complete and not any(slots_taken):
            self._summarise(sorted(set(labels.tolist())))
        self._train(images, labels)
        self._batches += 1

    def _summarise(self, present: Sequence[int]) -> None:
        """Let the images in the slots take one step for each class that is `present` in the batch."""
        places = torch.cat([self._slots_of(label) for label in self._arriving])
        if self._learned is None:
            self._learned = self._at(places)[0].clone().requires_grad_()
            self._image_optimizer = torch.optim.SGD(
                [self._learned], lr=self._config.learning_rate, momentum=self._config.momentum
            )
        queued = torch.cat([images for images, _ in self._queue]), torch.cat([labels for _, labels in self._queue])
        for label in present:
            own = self._labels[places] == label
            loss = self._loss(self._learned[own.to(self._device)], queued[0][queued[1] == label], label)
            (self._learned.grad,) = torch.autograd.grad(loss, self._learned)
            self._image_optimizer.step()
            self._images[places[own].to(self._device)] = self._learned.detach()[own.to(self._device)]

    def _loss(self, summary: Images, real: Images, label: int) -> torch.Tensor:
        both = named(AUGMENTATION)(torch.cat([real, summary]), self._draws)
        earlier = self._in_slot & ~torch.isin(self._labels, torch.tensor(self._arriving))
        past, _ = self._at(drawn(earlier.nonzero().flatten(), self._config.relation_images, self._draws))
        return summary_loss(
            self._network,
            both[len(real) :],
            both[: len(real)],
            label,
            seen=self._seen_classes,
            past=past,
            weight=self._config.relation_weight,
        )

    def _train(self, images: Images, labels: torch.Tensor) -> None:
        """Train the matching network on a batch and on real images of the memory; the last, smaller part is left out.

        The loss is the cross-entropy over the classes seen so far.
        """
        real = ((self._labels >= 0) & ~self._in_slot).nonzero().flatten()
        replayed = self._at(drawn(real, self._config.replayed, self._draws))
        images, labels = torch.cat([images, replayed[0]]), torch.cat([labels, replayed[1]])
        size = len(images) - len(replayed[0])
        order = torch.randperm(len(images), generator=self._draws)
        seen = torch.tensor(self._seen_classes, device=labels.device)
        for part in order.split(size):
            if len(part) < size:
                continue
            here = part.to(images.device)
            logits = self._network(images[here])[:, seen]
            loss = F.cross_entropy(logits, torch.searchsorted(seen, labels[here]))
            self._network_optimizer.zero_grad()
            loss.backward()
            self._network_optimizer.step()


def _cost(config: SSDConfig, facts: StreamFacts) -> MemoryCost:
    """Summarised images are float32. Their number is largest when every class has arrived."""
    values, classes = pixels(facts.plan), facts.plan.num_classes
    summarised = config.slots_for(facts.capacity, classes) * classes
    queued = min(config.queue, facts.batches) * facts.batch_size
    return MemoryCost(images=facts.capacity, size=(3 * summarised + facts.capacity) * values, queue=queued * values)


def _check(config: SSDConfig, facts: StreamFacts) -> None:
    """Raise ConfigError if the slots do not fit the memory, or if no image would ever be improved."""
    classes = facts.plan.num_classes
    slots = config.slots_for(facts.capacity, classes)
    if slots * classes > facts.capacity:
        raise ConfigError(
            f"slots {slots} of each of {classes} classes: a memory of {facts.capacity} images has at most "
            f"{facts.capacity // classes} for each class"
        )
    plan_network(config.network, num_classes=classes, image_shape=facts.plan.image_shape)  # raises for a wrong name
    for arriving, images in facts.shown:
        _check_step(config, slots, arriving, images, facts.batch_size)


def _check_step(config: SSDConfig, slots: int, classes: int, images: int, batch_size: int) -> None:
    """Raise ConfigError if no image would be improved in a step of `classes` classes with `images` images each.

    The classes arrive evenly (`balanced_batches`), so the slots of all classes are full after about as many batches.
    """
    batches = batches_of(classes, images, batch_size)
    shown = batches * batch_size // classes  # the images of each class that surely arrive; the last batch is left out
    if slots > shown:
        raise ConfigError(
            f"slots {slots}: a step shows only {shown} images of each class, so the slots stay empty; take "
            f"fewer (--set ssd.slots={max(1, shown // 2)}) or a smaller --buffer"
        )
    filled = -(-slots * classes // batch_size)
    if not range(config.first_chance(filled), batches, config.interval):
        raise ConfigError(
            f"queue {config.queue}, interval {config.interval}, slots {slots}: a step has {batches} batches and its "
            f"slots are full after {filled}, so no image would be improved in it; take a shorter queue "
            f"(--set ssd.queue={max(1, batches // 4)}), a shorter interval, fewer slots or fewer steps"
        )


ONLINE_MEMORIES.add(
    OnlineMemoryKind(
        name="ssd",
        summary="images of each class that learn the gradients of the stream, and real images (Gu et al. 2024)",
        begin=SummarisedStream,
        config=SSDConfig,
        cost=_cost,
        check=_check,
        scales={
            # Ours: data sets and networks are smaller, and steps shorter.
            "cpu": {"network": "convnet3_w32", "queue": 8, "interval": 2},
            "smoke": {"network": "convnet3_w16", "queue": 4, "interval": 4},
        },
    )
)
