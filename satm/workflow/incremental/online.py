"""Plans the memory of an online protocol: its kind, its size, what it costs, and whether it can work on the stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from protocols.buffer import check_buffer
from protocols.online.memory import ONLINE_MEMORIES, Keeping, StreamFacts
from protocols.order import Steps
from satm.config import to_dict
from satm.networks import NetworkPlan
from satm.workflow.evaluate.subject import MemoryKind, Subject
from satm.workflow.incremental.memories import Budget, Memory, MemorySource

FLOAT_BYTES = 4
"""The bytes of one value of an improved image, which is float32. A value of a real image has one byte."""


def online_source(
    subject: Subject,
    *,
    kind: MemoryKind,
    config: Any,
    capacity: int,
    budget: Budget,
    network: NetworkPlan,
    batch_size: int,
    streams: Sequence[Steps],
) -> MemorySource:
    """Return the source of an online memory. Everything is checked that can be checked before the stream runs.

    Args:
        config: the settings of the memory. Those that differ from the defaults of the recipe's scale are a part of the
            memory's name in results.
        capacity: M. With the budget "bytes", the memory holds as many real images as have the bytes of M float32
            images, which are 4·M.
        network: the plan of the learner's network.
        batch_size: the number of images in a batch of the stream.
        streams: what arrives in each step, for each class order.

    Raises ConfigError if M is less than one image for each class, or if the memory cannot work on these streams.
    """
    check_buffer(capacity, network.num_classes)
    entry = ONLINE_MEMORIES.get(kind)
    held = capacity * FLOAT_BYTES if budget == "bytes" else capacity
    facts = _facts(subject, held, network, batch_size, streams)
    entry.check(config, facts)
    cost = entry.cost(config, facts)
    usual = to_dict(entry.configured(subject.recipe.scale))
    changed = [f"{key}={value}" for key, value in to_dict(config).items() if value != usual[key]]
    notes = [*(["bytes"] if budget == "bytes" else []), f"M={capacity}", *changed]
    size = {"equal in": budget, "images": cost.images, "bytes": cost.size}
    nothing = Memory(images=None, step_sizes=())
    return MemorySource(
        kind=kind,
        name=f"{kind}[{','.join(notes)}]",
        detail={
            "budget": size,
            "condensed": None,
            "online": {"memory": kind, "settings": to_dict(config), "queue_bytes": cost.queue},
        },
        at=lambda order, steps: nothing,
        remarks=_remarks(cost.images, cost.size, cost.queue),
        keeping=Keeping(kind=entry, config=config, capacity=held),
    )


def _facts(
    subject: Subject, capacity: int, network: NetworkPlan, batch_size: int, streams: Sequence[Steps]
) -> StreamFacts:
    """What is known of the streams, of all class orders together."""
    counts = torch.bincount(subject.data.train.labels, minlength=network.num_classes)
    groups = {frozenset(group) for steps in streams for group in steps.groups}
    shown = {(len(group), int(counts[list(group)].min())) for group in groups}
    return StreamFacts(capacity=capacity, plan=network, batch_size=batch_size, shown=tuple(sorted(shown)))


def _remarks(images: int, size: int, queue: int) -> tuple[str, ...]:
    beside = f", and reads {queue:,} more bytes of real images that publications do not count" if queue else ""
    return (f"the memory holds at most {images} images of {size:,} bytes{beside}",)
