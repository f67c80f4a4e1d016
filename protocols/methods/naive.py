"""`naive`: one network fine-tuned on each step's real images, nothing kept; the lower bound."""

from __future__ import annotations

from protocols.base import ClassIncremental, Learner, Task
from protocols.streaming import SCALES, StreamConfig


def _begin(task: Task, config: StreamConfig) -> Learner:
    from avalanche.training.supervised import Naive

    from protocols.learner import AvalancheLearner

    return AvalancheLearner(task, config.sgd, Naive)


PROTOCOL = ClassIncremental(
    name="naive",
    summary="Avalanche's Naive: fine-tuning on each step's real images, without a memory",
    begin=_begin,
    config=StreamConfig,
    reads="real",
    memory=False,
    builds_on=True,
    scales=SCALES,
)
