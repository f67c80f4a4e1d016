"""`gdumb-original`: the memory grows step by step and one network is trained at the very end (Prabhu et al. 2020)."""

from __future__ import annotations

from protocols.base import ClassIncremental, Learner, Task
from protocols.methods.gdumb import GDumbConfig


def _begin(task: Task, config: GDumbConfig) -> Learner:
    from protocols.fresh import FreshNetworks

    last = len(task.arriving) - 1
    return FreshNetworks(task=task, trains=lambda step: step == last)


PROTOCOL = ClassIncremental(
    name="gdumb-original",
    summary="one fresh network on the whole memory at the end, without a curve (Prabhu et al. 2020)",
    begin=_begin,
    config=GDumbConfig,
    reads="memory",
    trains_by_recipe=True,
    judged="last step",
    recipe="prabhu2020",
)
