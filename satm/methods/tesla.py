"""TESLA: trajectory matching at constant memory, soft labels from the target expert (Cui et al. 2023)."""

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
    """∂F/∂φ ≈ −α Σ_i (∂F/∂θ_N) · ∂g_i/∂φ: every θ_i is held constant, so that steps can be differentiated one by one.

    The derivative is not MTT's: the paths through θ_i are missing, all but for N = 1. The labels are softmax of the
    target expert's logits, made anew at every outer step; the set keeps the last. α follows Eq. 10's closed form. The
    published code takes half of this gradient by mistake (`2 * tuple`); ours is the whole.
    """

    labels: Literal["teacher", "hard"] = "teacher"
    engine: Engine = "tesla"  # the two passes
    step_size_derivative: StepSizeDerivative = "first_order"

    def label_rule(self) -> LabelRule:
        """Teacher labels, or hard ones."""
        return HardLabels() if self.labels == "hard" else TeacherLabels()

    def begin_with(self, task: Task, network: FlatNetwork) -> tuple[Images, Labels]:
        """The images and labels before the first outer step: by the first expert where a segment ends at the latest."""
        images, classes = TrajectoryConfig.begin_with(self, task, network)
        if self.labels == "hard":
            return images, classes
        last = task.experts[0].snapshot(self.stored_epochs()).to(task.device)
        return images, predict(network, last, images.to(task.device)).softmax(dim=1)


METHODS.add(
    TrajectoryMethod(
        name="tesla",
        summary="constant memory, soft labels from the target expert (Cui et al. 2023)",
        config=TESLAConfig,
    )
)
