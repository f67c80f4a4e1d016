"""`er-ace`: experience replay with asymmetric cross-entropy (Caccia et al. 2022), with the given memory as its buffer.

The paper's method learns online: it sees each image of the stream once. Avalanche's implementation, which is used here,
is not online (avalanche/training/supervised/er_ace.py, 0.6.0). It adds the images of the current step to the buffer
before the training of the step, so batches of memory images contain these images too.

In the first step, the loss is the cross-entropy CE(stream) of the real images, with a softmax over all classes. From
the second step on, the loss is ½ CE(memory) + ½ CE(stream). CE(memory) is the cross-entropy of the memory images, with
a softmax over all classes. CE(stream) then has a softmax over the classes of the batch's real images only. All other
classes, of earlier and of later steps, are left out.
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
        # ER-ACE adds the images of the step to the buffer before the training. If the buffer then has fewer images than
        # a batch of memory images needs, Avalanche replays nothing and gives no warning. So the batch is made smaller.
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
