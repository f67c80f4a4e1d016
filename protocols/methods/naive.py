"""`naive`: one network, trained further in each step on the real images of this step only, without a memory.

Its accuracy is the lower bound for protocols with a memory.
"""

from __future__ import annotations

from protocols.base import PROTOCOLS, ClassIncremental, Learner, StreamContext
from protocols.streaming import SCALES, StreamConfig


def _begin(context: StreamContext, config: StreamConfig) -> Learner:
    from avalanche.training.supervised import Naive

    from protocols.learner import AvalancheLearner

    return AvalancheLearner(context, config.sgd, Naive)


PROTOCOLS.add(
    ClassIncremental(
        name="naive",
        summary="Avalanche's Naive: fine-tuning on each step's real images, without a memory",
        begin=_begin,
        config=StreamConfig,
        reads="real",
        memory=False,
        builds_on=True,
        scales=SCALES,
    )
)
