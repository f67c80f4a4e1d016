"""`gdumb`: in each step, a new network is trained on all images of the memory (the experiment of Zhao and Bilen 2023).

The method GDumb is from Prabhu et al. 2020. Their own experiment is the protocol `gdumb-original`.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocols.base import PROTOCOLS, ClassIncremental, Learner, StreamContext


@dataclass(frozen=True, slots=True, kw_only=True)
class GDumbConfig:
    """GDumb has no settings. The evaluation recipe says how each network is trained."""


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
