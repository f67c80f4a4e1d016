"""`idc`: one network, trained further in each step on the whole memory, with distillation from the step before.

It is the continual-learning experiment of IDC (Kim et al. 2022, Figure 7; repository Efficient-Dataset-Condensation,
folder continual-learning, at ceac95a). The network never sees the stream of real images. The images of a step are
condensed from the classes of this step only: in IDC's code, earlier images are known to the network, and not to the
condensation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from protocols.base import PROTOCOLS, ClassIncremental, Learner, StreamContext
from satm.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class IDCConfig:
    """The settings of the loss CE + β T² KL (`protocols.distilled.distilled_loss`).

    The recipe has all other settings. The defaults are IDC's (continual-learning/argument.py). Raises ConfigError for a
    value out of its range.
    """

    temperature: float = 2.0  # T
    beta: float = 1.0  # β; 0: no distillation

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise ConfigError(f"temperature {self.temperature}: expected a finite number above 0")
        if not 0 <= self.beta < math.inf:
            raise ConfigError(f"beta {self.beta}: expected a finite number of 0 or more")


def _begin(context: StreamContext, config: IDCConfig) -> Learner:
    from protocols.distilled import DistilledNetwork

    return DistilledNetwork(context=context, temperature=config.temperature, beta=config.beta)


PROTOCOLS.add(
    ClassIncremental(
        name="idc",
        summary="one network, trained further on the whole memory, distilled from the step before (Kim et al. 2022)",
        begin=_begin,
        config=IDCConfig,
        reads="memory",
        own_loss=True,
        builds_on=True,
        recipe="idc-cl",
    )
)
