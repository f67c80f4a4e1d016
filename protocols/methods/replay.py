"""`replay`: the memory as Avalanche's replay buffer: each batch of real images gets memory images of earlier steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from protocols.base import PROTOCOLS, ClassIncremental, Learner, StreamContext
from protocols.streaming import SCALES, ReplayConfig
from satm.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedReplayConfig(ReplayConfig):
    """`ReplayConfig`, and the weight w of the memory: the loss of a batch is (1 − w) CE(stream) + w CE(memory).

    With None, the loss is computed as in Avalanche: the mean over all images of the batch, so w = m / (m + b) for m
    images of the memory (at most `memory_batch_size`) and b of the stream, m / (m + 32) by default. w then grows with
    a memory of fewer than `memory_batch_size` images; state w to compare memories of different sizes at one weight.
    """

    replay_weight: float | None = None

    def __post_init__(self) -> None:
        ReplayConfig.__post_init__(self)
        if self.replay_weight is not None and not 0 <= self.replay_weight < 1:
            raise ConfigError(f"replay_weight {self.replay_weight}: expected 0 or more, and less than 1")


def _begin(context: StreamContext, config: WeightedReplayConfig) -> Learner:
    from avalanche.training.plugins import ReplayPlugin
    from avalanche.training.supervised import Naive

    from protocols.learner import AvalancheLearner
    from protocols.memory import GivenMemory
    from protocols.replay_weight import ReplayWeight

    memory = GivenMemory(context.arriving, context.buffer, context.each)

    def make(*, plugins: list[Any], **common: Any) -> Any:
        # Avalanche's `Replay`, with this memory instead of its default storage policy.
        replay = ReplayPlugin(mem_size=memory.max_size, batch_size_mem=config.memory_batch_size, storage_policy=memory)
        weighed = [] if config.replay_weight is None else [ReplayWeight(config.replay_weight)]
        return Naive(plugins=[*plugins, replay, *weighed], **common)

    return AvalancheLearner(context, config.sgd, make, memory=memory)


PROTOCOLS.add(
    ClassIncremental(
        name="replay",
        summary="Avalanche's Replay over the real stream, its buffer the memory",
        begin=_begin,
        config=WeightedReplayConfig,
        reads="real",
        builds_on=True,
        scales=SCALES,
    )
)
