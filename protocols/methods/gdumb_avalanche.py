"""`gdumb-avalanche`: Avalanche's own GDumb. Each step trains a new network, always with the same initial weights."""

from __future__ import annotations

from typing import Any

from protocols.base import PROTOCOLS, ClassIncremental, Learner, StreamContext
from protocols.methods.gdumb import GDumbConfig


def _begin(context: StreamContext, config: GDumbConfig) -> Learner:
    from avalanche.training.plugins import GDumbPlugin
    from avalanche.training.supervised import GDumb

    from protocols.learner import AvalancheLearner
    from protocols.memory import GivenMemory

    memory = GivenMemory(context.arriving, context.buffer, context.each)

    def make(**common: Any) -> Any:
        strategy = GDumb(mem_size=memory.max_size, **common)
        (plugin,) = (each for each in strategy.plugins if isinstance(each, GDumbPlugin))
        # Avalanche's own policy keeps a random selection of the images. The images of our memory are given.
        plugin.storage_policy = memory
        return strategy

    networks = context.networks
    return AvalancheLearner(context, lambda step: networks.recipe.sgd(networks.rates[step]), make, memory=memory)


PROTOCOLS.add(
    ClassIncremental(
        name="gdumb-avalanche",
        summary="Avalanche's GDumb: its own loop, the same initialisation at every step",
        begin=_begin,
        config=GDumbConfig,
        reads="memory",
    )
)
