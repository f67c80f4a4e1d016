"""`der`: Dark Experience Replay (Buzzega et al. 2020) with the memory as its buffer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from protocols.base import PROTOCOLS, ClassIncremental, Learner, StreamContext
from protocols.streaming import SCALES, ReplayConfig
from satm.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class DERConfig(ReplayConfig):
    """Settings of DER and DER++. The loss of a batch is CE(stream) + α MSE(z, z₀) + β CE(memory).

    z are the network's logits on memory images, z₀ those that it had after the step in which the images arrived,
    without augmentation. CE is the cross-entropy. β = 0 is DER, β > 0 is DER++.

    Avalanche differs from the authors' code: one forward pass over stream and memory together in place of three, one
    replay batch for both terms in place of two, and the logits are taken after the step in place of at once on the
    augmented image (avalanche/training/supervised/der.py, 0.6.0). The K logits of an image count in a memory's bytes.
    """

    alpha: float = 0.2
    beta: float = 0.5

    def __post_init__(self) -> None:
        ReplayConfig.__post_init__(self)
        if not (0 <= self.alpha < float("inf") and 0 <= self.beta < float("inf")):
            raise ConfigError(f"alpha {self.alpha} and beta {self.beta}: expected finite numbers of 0 or more")


def _begin(context: StreamContext, config: DERConfig) -> Learner:
    from avalanche.training.supervised import DER

    from protocols.learner import AvalancheLearner
    from protocols.memory import LogitsMemory

    memory = LogitsMemory(context.arriving, context.buffer, context.each)

    def before(strategy: Any, step: int) -> None:
        # Avalanche replays nothing, without a message, if the buffer is smaller than this batch.
        strategy.batch_size_mem = min(config.memory_batch_size, len(memory.buffer) or 1)

    make = memory.behind(DER, alpha=config.alpha, beta=config.beta)
    return AvalancheLearner(context, config.sgd, make, memory=memory, before=before)


PROTOCOLS.add(
    ClassIncremental(
        name="der",
        summary="Avalanche's DER++ over the real stream, its buffer the memory (Buzzega et al. 2020)",
        begin=_begin,
        config=DERConfig,
        reads="real",
        builds_on=True,
        keeps_logits=True,
        scales=SCALES,
    )
)
