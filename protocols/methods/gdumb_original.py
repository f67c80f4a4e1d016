"""`gdumb-original`: the memory grows in every step, and one network is trained after the last step.

This is the experiment of GDumb's authors (Prabhu et al. 2020).
"""

from __future__ import annotations

from protocols.base import PROTOCOLS, ClassIncremental, Learner, StreamContext
from protocols.methods.gdumb import GDumbConfig


def _begin(context: StreamContext, config: GDumbConfig) -> Learner:
    from protocols.fresh import FreshNetworks

    last = len(context.arriving) - 1
    return FreshNetworks(context=context, trains=lambda step: step == last)


PROTOCOLS.add(
    ClassIncremental(
        name="gdumb-original",
        summary="one fresh network on the whole memory at the end, without a curve (Prabhu et al. 2020)",
        begin=_begin,
        config=GDumbConfig,
        reads="memory",
        trains_by_recipe=True,
        judged="last step",
        recipe="prabhu2020",
    )
)
