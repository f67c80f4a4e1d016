"""`gdumb-avalanche`: Avalanche's own GDumb, whose every step starts again from one and the same initialisation."""

from __future__ import annotations

from typing import Any

from protocols.base import PROTOCOLS, ClassIncremental, Learner, StreamContext
from protocols.methods.gdumb import GDumbConfig


def _begin(context: StreamContext, config: GDumbConfig) -> Learner:
    from avalanche.training.plugins import GDumbPlugin
    from avalanche.training.supervised import GDumb

    from protocols.learner import AvalancheLearner
    from protocols.memory import GivenMemory

    memory = GivenMemory(context.arriving)

    def make(**common: Any) -> Any:
        strategy = GDumb(mem_size=memory.max_size, **common)
        (plugin,) = (each for each in strategy.plugins if isinstance(each, GDumbPlugin))
        plugin.storage_policy = memory  # every image has a place: nothing is left to its reservoirs' draws
        return strategy

    networks = context.networks
    return AvalancheLearner(
        context, lambda step: networks.recipe.sgd(networks.rates[step]), make, memory=memory, builds_on=False
    )


PROTOCOLS.add(
    ClassIncremental(
        name="gdumb-avalanche",
        summary="Avalanche's GDumb: its own loop, the same initialisation at every step",
        begin=_begin,
        config=GDumbConfig,
        reads="memory",
    )
)
