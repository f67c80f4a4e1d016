"""`er-ace`: experience replay with asymmetric cross-entropy (Caccia et al. 2022), with the memory as its buffer.

Avalanche's version is not the online one of the paper (avalanche/training/supervised/er_ace.py, 0.6.0). It adds the
images of the current step to the buffer before training, so replay batches hold them too. From the second step on,
the loss is ½ CE(memory) + ½ CE(stream). CE(stream) is over the classes of its own batch only: all others, those of
earlier and of later steps, are left out of the softmax. CE(memory) is over all classes. The first step has only
CE(stream), over all classes.
"""

from __future__ import annotations

from typing import Any

from protocols.base import PROTOCOLS, ClassIncremental, Learner, StreamContext
from protocols.streaming import SCALES, ReplayConfig


def _begin(context: StreamContext, config: ReplayConfig) -> Learner:
    from avalanche.training.supervised import ER_ACE

    from protocols.learner import AvalancheLearner
    from protocols.memory import GivenMemory

    memory = GivenMemory(context.arriving, context.buffer, context.each)

    def before(strategy: Any, step: int) -> None:
        # ER-ACE adds the step's own images first. If the buffer is smaller than this batch, Avalanche replays
        # nothing and says nothing.
        strategy.batch_size_mem = min(config.memory_batch_size, memory.size_after(step))

    return AvalancheLearner(context, config.sgd, memory.behind(ER_ACE), memory=memory, before=before)


PROTOCOLS.add(
    ClassIncremental(
        name="er-ace",
        summary="Avalanche's ER-ACE over the real stream, its buffer the memory (Caccia et al. 2022)",
        begin=_begin,
        config=ReplayConfig,
        reads="real",
        builds_on=True,
        scales=SCALES,
        one_hot=False,
    )
)
