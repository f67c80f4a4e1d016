"""`gdumb`: trains a new network from scratch at each step, on the memory so far (Zhao & Bilen's experiment)."""

from __future__ import annotations

from dataclasses import dataclass

from protocols.base import PROTOCOLS, ClassIncremental, Learner, StreamContext


@dataclass(frozen=True, slots=True, kw_only=True)
class GDumbConfig:
    """No settings: the recipe says how each network is trained."""


def _begin(context: StreamContext, config: GDumbConfig) -> Learner:
    from protocols.fresh import FreshNetworks

    return FreshNetworks(context=context)


PROTOCOLS.add(
    ClassIncremental(
        name="gdumb",
        summary="a fresh network on the memory after every step (GDumb as Zhao & Bilen 2023 report it, CL_DM.py)",
        begin=_begin,
        config=GDumbConfig,
        reads="memory",
        trains_by_recipe=True,
    )
)
