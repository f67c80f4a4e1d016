"""Condensations that choose or assemble their images: all at once, or one class at each outer step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch

from satm.errors import ExpertError
from satm.methods.base import Outcome, Task, class_major_labels
from satm.types import FlatParams, Images, Labels


class Selection:
    """A `Condensation` without outer steps: its outcome is given at the start."""

    step = steps = 0
    notes: Mapping[str, str] = MappingProxyType({})

    def __init__(self, learnt: Outcome) -> None:
        self._learnt = learnt

    def advance(self) -> Mapping[str, float]:
        """See `Condensation`: does nothing."""
        return {}

    def state(self) -> dict[str, torch.Tensor]:
        """See `Condensation`: empty."""
        return {}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """See `Condensation`: does nothing, because the same seed makes the same choice."""

    def result(self) -> Outcome:
        """See `Condensation`."""
        return self._learnt


class ClassByClass:
    """A `Condensation` whose outer step makes the images of one class."""

    notes: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self, task: Task, make: Callable[[int], Images], finish: Callable[[Images], Outcome] | None = None
    ) -> None:
        """`make` returns the images [ipc, C, H, W] of a class, `finish` the outcome; without it labels are hard."""
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
        """See `Condensation`: the classes done so far."""
        if self._finish is not None:
            return self._finish(self._images)
        return Outcome(self._images, class_major_labels(self.step, self._ipc), "hard", None)


def selected(images: Images, labels: Labels) -> Selection:
    """Real images and their classes. The step size is None: an evaluation chooses it on the validation split."""
    return Selection(Outcome(images.cpu(), labels.cpu(), "hard", None))


def last_snapshot(task: Task, epochs: int) -> FlatParams:
    """θ [P] of the task's first expert after `epochs` epochs. Raises ExpertError if it has fewer."""
    if not task.experts:
        raise ExpertError(f"an expert of {epochs} epochs is needed and there is none; train one (satm experts)")
    return task.experts[0].snapshot(epochs).to(task.device)
