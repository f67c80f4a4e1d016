"""`joint`: in each step, a new network is trained on all real images seen so far.

Its accuracy is the upper bound for the protocols that keep only some images in a memory.
"""

from __future__ import annotations

from typing import Any

from protocols.base import PROTOCOLS, ClassIncremental, Learner, StreamContext
from protocols.streaming import SCALES, StreamConfig


def _begin(context: StreamContext, config: StreamConfig) -> Learner:
    from avalanche.training.supervised import Cumulative

    from protocols.learner import AvalancheLearner

    # Gives the network new initial weights before each step.
    def afresh(strategy: Any, step: int) -> None:
        strategy.model.network.load_state_dict(context.networks.untrained(context.step_seed(step)).state_dict())

    # If an interrupted stream is continued, the finished steps are not trained again (`Learner.skip`). This function
    # adds their images to the data set of the strategy.
    def remember(strategy: Any, experience: Any) -> None:
        strategy.experience = experience
        strategy.train_dataset_adaptation()

    return AvalancheLearner(
        context,
        config.sgd,
        Cumulative,
        before=afresh,
        remember=remember,
        size=lambda strategy: len(strategy.dataset or ()),
    )


PROTOCOLS.add(
    ClassIncremental(
        name="joint",
        summary="the upper bound: a fresh network at every step, on all real images so far",
        begin=_begin,
        config=StreamConfig,
        reads="real",
        memory=False,
        own_optimizer=True,
        scales=SCALES,
    )
)
