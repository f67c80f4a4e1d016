"""The class `Trainer`: the device on which evaluation networks are trained, and the compiled code that they share."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from evaluation.recipe import Recipe
from evaluation.train import plan_training
from satm.machine.fused import Compilation, Fused
from satm.networks import NetworkPlan
from satm.progress import SILENT, Progress
from satm.types import Examples


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """A device, the choice whether training on it is compiled, and the object that shows the progress.

    Evaluations that use the same trainer share its compiled code. Code is compiled once for each combination of
    architecture, number of classes, image shape, number of epochs, number of images, optimiser and loss.
    """

    device: torch.device | str = "cpu"
    compilation: Compilation = "auto"  # "auto" compiles only long trainings; see `satm.machine.fused`
    progress: Progress = SILENT
    _compiled: dict[tuple[object, ...], Fused | None] = field(default_factory=dict, init=False, repr=False)

    def compiled(self, examples: Examples, plan: NetworkPlan, recipe: Recipe) -> Fused | None:
        """Compiled code that trains networks of `plan` by `recipe` on as many images as `examples` has.

        None if the networks are trained uncompiled. Raises ConfigError if `compilation` is "compiled" and the training
        cannot be compiled.
        """
        loss = (recipe.optimizer, recipe.labels)
        key = (plan.name, plan.num_classes, plan.image_shape, recipe.epochs, len(examples), loss)
        if key not in self._compiled:
            self._compiled[key] = plan_training(
                examples,
                plan,
                recipe,
                device=self.device,
                compilation=self.compilation,
                progress=self.progress,
            )
        return self._compiled[key]
