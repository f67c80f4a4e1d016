"""TESLA: trajectory matching with memory that does not grow with the number of inner steps (Cui et al. 2023)."""

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
    """The settings of TESLA, which approximates the derivative of the matching loss F with respect to the images φ:

        ∂F/∂φ ≈ −α Σ_i (∂F/∂θ_N) · ∂g_i/∂φ

    α is the step size, θ_i the network's parameters before inner step i, θ_N those after the last inner step, and g_i
    the gradient of the network's loss in inner step i. In ∂g_i/∂φ, θ_i is held constant, although it depends on φ. The
    inner steps can therefore be differentiated one at a time, in constant memory. The result differs from the exact
    derivative, which MTT uses, because the paths through θ_i are missing. The two are equal only if there is a single
    inner step.

    If `labels` is `teacher`, each outer step makes new labels: the softmax of the logits that the expert has at the end
    of the segment that this outer step matches. TESLA does so on ImageNet-1K. The set keeps the labels of the last
    outer step.

    The published code of TESLA uses half of ∂F/∂φ by mistake: it multiplies a tuple by 2, which repeats the tuple and
    does not double the gradient in it. Here the whole derivative is used. The derivative of F with respect to α is the
    closed form of Eq. 10 in the SATM paper.
    """

    labels: Literal["teacher", "hard"] = "hard"  # hard is the default of TESLA's code; teacher: used for ImageNet-1K
    engine: Engine = "tesla"  # differentiates the inner steps one at a time, in two passes
    step_size_derivative: StepSizeDerivative = "first_order"

    def label_rule(self) -> LabelRule:
        """How the images are labelled, as `labels` says; see `TrajectoryConfig`."""
        return HardLabels() if self.labels == "hard" else TeacherLabels()

    def begin_with(self, task: Task, network: FlatNetwork) -> tuple[Images, Labels]:
        """The images and labels before the first outer step; see `TrajectoryConfig`.

        If `labels` is `teacher`, the labels are probabilities that the first expert gives after the last epoch at which
        a segment can end. If networks see several images of a stored image, its label is the mean over them.
        """
        images, classes = TrajectoryConfig.begin_with(self, task, network)
        if self.labels == "hard":
            return images, classes
        last = task.experts[0].snapshot(self.stored_epochs()).to(task.device)
        seen = task.parametrisation.decode(images.to(task.device))
        return images, task.parametrisation.by_stored(predict(network, last, seen).softmax(dim=1)).mean(dim=1)


METHODS.add(
    TrajectoryMethod(
        name="tesla",
        summary="trajectory matching at constant memory (Cui et al. 2023)",
        cite=("cui2023tesla",),
        config=TESLAConfig,
        recipe="tesla",
    )
)
