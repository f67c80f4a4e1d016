"""`replay`: the memory as Avalanche's replay buffer: each batch of real images gets memory images of earlier steps."""

from __future__ import annotations

from typing import Any

from protocols.base import PROTOCOLS, ClassIncremental, Learner, StreamContext
from protocols.streaming import SCALES, ReplayConfig


def _begin(context: StreamContext, config: ReplayConfig) -> Learner:
    from avalanche.training.plugins import ReplayPlugin
    from avalanche.training.supervised import Naive

    from protocols.learner import AvalancheLearner
    from protocols.memory import GivenMemory

    memory = GivenMemory(context.arriving, context.buffer)

    def make(*, plugins: list[Any], **common: Any) -> Any:
        # Avalanche's `Replay`, with this memory instead of its default storage policy.
        replay = ReplayPlugin(mem_size=memory.max_size, batch_size_mem=config.memory_batch_size, storage_policy=memory)
        return Naive(plugins=[*plugins, replay], **common)

    return AvalancheLearner(context, config.sgd, make, memory=memory)


PROTOCOLS.add(
    ClassIncremental(
        name="replay",
        summary="Avalanche's Replay over the real stream, its buffer the memory",
        begin=_begin,
        config=ReplayConfig,
        reads="real",
        builds_on=True,
        scales=SCALES,
    )
)
