"""`cumulative`: one network, trained further in each step on all real images seen so far.

The network begins each step with the weights of the step before, and this can make it worse than a new network. So its
accuracy is not an upper bound for the other protocols. The upper bound is the protocol `joint`, which trains a new
network in each step.
"""

from __future__ import annotations

from typing import Any

from protocols.base import PROTOCOLS, ClassIncremental, Learner, StreamContext
from protocols.streaming import SCALES, StreamConfig


def _begin(context: StreamContext, config: StreamConfig) -> Learner:
    from avalanche.training.supervised import Cumulative

    from protocols.learner import AvalancheLearner

    # If an interrupted stream is continued, the finished steps are not trained again (`Learner.skip`). This function
    # adds their images to the data set of the strategy.
    def remember(strategy: Any, experience: Any) -> None:
        strategy.experience = experience
        strategy.train_dataset_adaptation()

    return AvalancheLearner(
        context, config.sgd, Cumulative, remember=remember, size=lambda strategy: len(strategy.dataset or ())
    )


PROTOCOLS.add(
    ClassIncremental(
        name="cumulative",
        summary="Avalanche's Cumulative: one network, trained further at every step on all real images so far",
        begin=_begin,
        config=StreamConfig,
        reads="real",
        memory=False,
        builds_on=True,
        scales=SCALES,
    )
)
