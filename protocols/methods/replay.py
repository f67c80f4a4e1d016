"""`replay`: one network, trained on the stream of real images. Each batch also has memory images of earlier steps.

The given memory is the buffer of Avalanche's replay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from protocols.base import PROTOCOLS, ClassIncremental, Learner, StreamContext
from protocols.streaming import SCALES, ReplayConfig
from satm.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedReplayConfig(ReplayConfig):
    """The settings of `ReplayConfig` and the weight w of the memory in the loss (1 − w) CE(stream) + w CE(memory).

    CE(stream) is the mean cross-entropy of the b real images of a batch, CE(memory) that of its m memory images.

    If w is None, the loss is that of Avalanche, the mean over all images of the batch. This is the loss above with
    w = m / (m + b), which is m / (m + 32) with the default batch size. m is `memory_batch_size`, or less if the memory
    has fewer images. So w depends on the size of a small memory. To compare memories of different sizes, set w to a
    number.
    """

    replay_weight: float | None = None  # w

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
        # This is what Avalanche's strategy `Replay` builds, but with this memory instead of the default storage policy.
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
