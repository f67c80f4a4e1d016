"""DATM: difficulty-aligned trajectory matching with learned soft labels (Guo et al. 2024)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from satm.engine import FlatNetwork
from satm.errors import ConfigError
from satm.methods.base import METHODS, Task, class_major_labels
from satm.methods.start import images_an_expert_gets_right, logits_of_experts
from satm.methods.trajectory.config import TrajectoryConfig
from satm.methods.trajectory.flat_experts import flat_experts
from satm.methods.trajectory.labels import HardLabels, LabelRule, LearnedLogits, predict
from satm.methods.trajectory.method import TrajectoryMethod
from satm.types import Images, Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class DATMConfig(TrajectoryConfig):
    """MTT with a range of start epochs that grows, and with learned labels.

    Start epochs are t ∈ [`min_start_epoch`, upper). The limit `upper` grows from `first_upper_epoch` to T, the maximum
    start epoch, over `expansion_steps` outer steps (to T + 1 if `start_epochs` is "up_to"). The inner loss is
    L_CE = −Σ softmax(y) log softmax(logits) at temperature 1. The logits y [n, K] are the labels; they are learned
    together with φ and α.

    By default φ starts from real images that the first expert classifies correctly after `teacher_epoch` epochs, and
    the y of an image starts from the mean logits of those experts that classify this image correctly. If φ starts from
    real images drawn at random (`init` is "real"), y starts from the logits of the first expert, right or wrong
    (DATM.py:269-319 at 97ae510). An outer step with a matching loss above `threshold` moves neither φ nor y nor α.
    """

    min_start_epoch: int = 0
    first_upper_epoch: int | None = None  # `upper` at outer step 0; null: its last value, so the range does not grow
    expansion_steps: int = 1  # the number of outer steps until `upper` has its last value
    labels: Literal["learned", "hard"] = "learned"
    # right: the y of an image starts from the experts that classify it correctly; one: from the first expert; null: one
    # if `init` is "real", else right.
    first_labels: Literal["right", "one"] | None = None
    lr_labels: float = 2.0
    momentum_labels: float = 0.9
    teacher_epoch: int | None = None  # the epoch of the experts from which φ and y start; null: the last of a segment
    threshold: float | None = 1.0  # the largest matching loss of an outer step that moves φ, y and α; null: no limit
    init: Literal["right", "real", "noise"] = "right"  # type: ignore[assignment]

    def __post_init__(self) -> None:
        TrajectoryConfig.__post_init__(self)  # not super(): slots make a new class, and super() finds the old one
        first = self.starts() if self.first_upper_epoch is None else self.first_upper_epoch
        if not 0 <= self.min_start_epoch < first <= self.starts():
            raise ConfigError(
                f"start epochs from {self.min_start_epoch} below {first}, later {self.starts()}: expected "
                "0 ≤ min_start_epoch < first_upper_epoch ≤ max_start_epoch"
            )
        if self.expansion_steps < 1:
            raise ConfigError(f"expansion_steps {self.expansion_steps}: expected at least 1")
        if self.teacher_epoch is not None and self.teacher_epoch < 0:
            raise ConfigError(f"teacher_epoch {self.teacher_epoch}: expected 0 or more, or null")
        if self.threshold is not None and not self.threshold > 0:
            raise ConfigError(f"threshold {self.threshold}: expected a loss above 0, or null for none")
        self.label_rule()

    def teacher(self) -> int:
        """Return the epoch of the experts that give the first images and labels."""
        return TrajectoryConfig.stored_epochs(self) if self.teacher_epoch is None else self.teacher_epoch

    def stored_epochs(self) -> int:
        """See `TrajectoryConfig`: the last epoch of a segment or of the teacher."""
        return max(TrajectoryConfig.stored_epochs(self), self.teacher())

    def epochs_asked(self) -> str:
        """See `TrajectoryConfig`."""
        teacher = "" if self.teacher_epoch is None else f"teacher_epoch {self.teacher_epoch}, "
        return teacher + TrajectoryConfig.epochs_asked(self)

    def starts_at(self, step: int) -> range:
        """See `TrajectoryConfig`: [min, upper) at outer step `step`."""
        last = self.starts()
        first = last if self.first_upper_epoch is None else self.first_upper_epoch
        return range(self.min_start_epoch, min(last, first + (last - first) * step // self.expansion_steps))

    def label_rule(self) -> LabelRule:
        """See `TrajectoryConfig`: learned logits, or hard labels."""
        return HardLabels() if self.labels == "hard" else LearnedLogits(self.lr_labels, self.momentum_labels)

    def begin_with(self, task: Task, network: FlatNetwork) -> tuple[Images, Labels]:
        """See `TrajectoryConfig`: the first images by `init`, and the first labels by `labels` and `first_labels`."""
        last = [expert.snapshot(self.teacher()).to(task.device) for expert in task.experts]
        if self.init == "right":
            images = images_an_expert_gets_right(task, network, last[0], task.seed.child("init"))
        else:
            images, _ = TrajectoryConfig.begin_with(self, task, network)
        if self.labels == "hard":
            return images, class_major_labels(len(task.data.classes), task.ipc)
        seen = task.parametrisation.decode(images.to(task.device))
        if self.first_labels == "one" or (self.first_labels is None and self.init == "real"):
            logits = predict(network, last[0], seen)
        else:
            logits = logits_of_experts(task, network, last, seen)
        return images, task.parametrisation.by_stored(logits).mean(dim=1)

    def accepts(self, loss: float) -> bool:
        """See `TrajectoryConfig`: whether the loss is at most the threshold.

        Infinity and NaN are accepted here, so that the guard reports them.
        """
        return self.threshold is None or not math.isfinite(loss) or loss <= self.threshold


METHODS.add(
    TrajectoryMethod(
        name="datm",
        summary="difficulty-aligned windows and learned soft labels (Guo et al. 2024)",
        cite=("guo2024datm",),
        config=DATMConfig,
        recipe="datm",
        experts=flat_experts,
    )
)
