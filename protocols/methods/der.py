"""`der`: Dark Experience Replay (Buzzega et al. 2020), with the given memory as its replay buffer.

The network is trained on the stream of real images. Each batch also has images of the memory. For these, the loss keeps
the network's logits near those that it gave after the step in which the images arrived.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from protocols.base import PROTOCOLS, ClassIncremental, Learner, StreamContext
from protocols.streaming import SCALES, ReplayConfig
from satm.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class DERConfig(ReplayConfig):
    """Settings of DER and DER++. The loss of a batch is CE(stream) + α MSE(z, z₀) + β CE(memory).

    CE(stream) is the cross-entropy of the batch's real images, and CE(memory) that of its memory images. MSE is the
    mean squared error. z [m, K] are the network's logits of the m memory images. z₀ [m, K] are the logits of the same
    images, without augmentation, after the step in which they arrived. With β = 0 the protocol is DER, with β > 0 it is
    DER++.

    Avalanche's implementation (avalanche/training/supervised/der.py, 0.6.0) differs from the authors' code in three
    ways. It runs one forward pass over real and memory images together, the authors run three. It draws one batch of
    memory images for both terms, the authors draw two. It stores the logits after the step, the authors store them at
    once, on the augmented images. The size of a memory in bytes includes the K logits of each image.
    """

    alpha: float = 0.2  # α
    beta: float = 0.5  # β

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
        # If the buffer has fewer images than a batch of memory images needs, Avalanche replays nothing and gives no
        # warning. So the batch is made smaller.
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
