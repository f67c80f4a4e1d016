"""Condensations that choose or assemble their images: at once, or a class at every outer step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch

from satm.errors import ExpertError
from satm.methods.base import Outcome, Task, class_major_labels
from satm.types import FlatParams, Images, Labels


class Selection:
    """The outcome is there from the start; a `Condensation`."""

    step = steps = 0
    notes: Mapping[str, str] = MappingProxyType({})

    def __init__(self, learnt: Outcome) -> None:
        self._learnt = learnt

    def advance(self) -> Mapping[str, float]:
        """Nothing is left to do."""
        return {}

    def state(self) -> dict[str, torch.Tensor]:
        """Nothing is to be kept."""
        return {}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """The same choice was made when this one began."""

    def result(self) -> Outcome:
        """See `Condensation`."""
        return self._learnt


class ClassByClass:
    """Every outer step makes the images of one class; a `Condensation`."""

    notes: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self, task: Task, make: Callable[[int], Images], finish: Callable[[Images], Outcome] | None = None
    ) -> None:
        """`make` gives the images [ipc, C, H, W] of a class, `finish` the outcome; hard labels without it."""
        self.step, self.steps = 0, len(task.data.classes)
        self._ipc, self._make, self._finish = task.ipc, make, finish
        self._images = torch.empty(0, *task.data.image_shape)  # [step·ipc, C, H, W], on the CPU

    def advance(self) -> Mapping[str, float]:
        """See `Condensation`."""
        self._images = torch.cat([self._images, self._make(self.step).cpu()])
        self.step += 1
        return {}

    def state(self) -> dict[str, torch.Tensor]:
        """See `Condensation`."""
        return {"step": torch.tensor(self.step), "images": self._images}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """See `Condensation`."""
        self.step, self._images = int(state["step"]), state["images"].cpu()

    def result(self) -> Outcome:
        """See `Condensation`: the classes that are done."""
        if self._finish is not None:
            return self._finish(self._images)
        return Outcome(self._images, class_major_labels(self.step, self._ipc), "hard", None)


def selected(images: Images, labels: Labels) -> Selection:
    """A set of real images with their classes, and no step size: an evaluation chooses it on the validation split."""
    return Selection(Outcome(images.cpu(), labels.cpu(), "hard", None))


def last_snapshot(task: Task, epochs: int) -> FlatParams:
    """θ [P] of the task's first expert after `epochs` epochs; raises ExpertError where it has fewer."""
    if not task.experts:
        raise ExpertError(f"an expert of {epochs} epochs is needed and there is none; train one (satm experts)")
    return task.experts[0].snapshot(epochs).to(task.device)
