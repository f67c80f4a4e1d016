"""TESLA: trajectory matching at constant memory, on ImageNet-1K with labels of the target expert (Cui et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from satm.engine import Engine, FlatNetwork
from satm.methods.base import METHODS, Task
from satm.methods.outer.problem import StepSizeDerivative
from satm.methods.trajectory.config import TrajectoryConfig
from satm.methods.trajectory.labels import HardLabels, LabelRule, TeacherLabels, predict
from satm.methods.trajectory.method import TrajectoryMethod
from satm.types import Images, Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class TESLAConfig(TrajectoryConfig):
    """∂F/∂φ ≈ −α Σ_i (∂F/∂θ_N) · ∂g_i/∂φ, with every θ_i held constant. g_i is the gradient of inner step i.

    So inner steps are differentiated one at a time, in constant memory. The derivative is not that of MTT, because the
    paths through θ_i are missing; only for N = 1 are the two equal. With `labels` teacher, each outer step makes new
    labels, the softmax of the target expert's logits, and the set keeps the last ones. α follows the closed form of
    Eq. 10. The published code takes half of this gradient by mistake (`2 * tuple`). Ours is the whole.
    """

    labels: Literal["teacher", "hard"] = "hard"  # its code's default; teacher: as it labels ImageNet-1K
    engine: Engine = "tesla"  # the two passes
    step_size_derivative: StepSizeDerivative = "first_order"

    def label_rule(self) -> LabelRule:
        """See `TrajectoryConfig`: teacher labels, or hard ones."""
        return HardLabels() if self.labels == "hard" else TeacherLabels()

    def begin_with(self, task: Task, network: FlatNetwork) -> tuple[Images, Labels]:
        """See `TrajectoryConfig`. The first expert gives the labels, at the latest epoch at which a segment ends."""
        images, classes = TrajectoryConfig.begin_with(self, task, network)
        if self.labels == "hard":
            return images, classes
        last = task.experts[0].snapshot(self.stored_epochs()).to(task.device)
        return images, predict(network, last, images.to(task.device)).softmax(dim=1)


METHODS.add(
    TrajectoryMethod(
        name="tesla",
        summary="trajectory matching at constant memory (Cui et al. 2023)",
        cite=("cui2023tesla",),
        config=TESLAConfig,
        recipe="tesla",
    )
)
