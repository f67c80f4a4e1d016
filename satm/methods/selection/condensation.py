"""Condensations that select real images, or assemble images from them. They do not learn images.

`Selection` makes all images at once. `ClassByClass` makes the images of one class in each outer step. Both implement
the protocol `Condensation` in satm/methods/base.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch

from satm.errors import ExpertError
from satm.methods.base import Outcome, Task, class_major_labels
from satm.types import FlatParams, Images, Labels


class Selection:
    """A `Condensation` without outer steps. It returns the outcome that it was created with."""

    step = steps = 0
    notes: Mapping[str, str] = MappingProxyType({})

    def __init__(self, learnt: Outcome) -> None:
        self._learnt = learnt

    def advance(self) -> Mapping[str, float]:
        """Do nothing, because there are no outer steps; see `Condensation`."""
        return {}

    def state(self) -> dict[str, torch.Tensor]:
        """An empty state, because nothing changes; see `Condensation`."""
        return {}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Do nothing, because the same seed leads to the same images; see `Condensation`."""

    def result(self) -> Outcome:
        """The outcome; see `Condensation`."""
        return self._learnt


class ClassByClass:
    """A `Condensation` that makes the images of one class in each outer step."""

    notes: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self, task: Task, make: Callable[[int], Images], finish: Callable[[Images], Outcome] | None = None
    ) -> None:
        """Prepare the outer steps; no image is made yet.

        `make` returns the stored images [ipc, …] of the class with a given index. `finish` returns the outcome for the
        images of all classes. If `finish` is None, the outcome has the classes as hard labels.
        """
        self.step, self.steps = 0, len(task.data.classes)
        self._ipc, self._make, self._finish = task.ipc, make, finish
        shape = task.parametrisation.stored_shape(task.data.image_shape)
        self._images = torch.empty(0, *shape)  # the images made so far [step·ipc, …], on the CPU

    def advance(self) -> Mapping[str, float]:
        """Make the images of the next class; see `Condensation`."""
        self._images = torch.cat([self._images, self._make(self.step).cpu()])
        self.step += 1
        return {}

    def state(self) -> dict[str, torch.Tensor]:
        """The number of classes done, and their images; see `Condensation`."""
        return {"step": torch.tensor(self.step), "images": self._images}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Return to `state`; see `Condensation`."""
        self.step, self._images = int(state["step"]), state["images"].cpu()

    def result(self) -> Outcome:
        """The images of the classes done so far, with labels; see `Condensation`."""
        if self._finish is not None:
            return self._finish(self._images)
        return Outcome(self._images, class_major_labels(self.step, self._ipc), "hard", None)


def selected(images: Images, labels: Labels) -> Selection:
    """A condensation that returns real `images` with their classes `labels` and no learned step size.

    An evaluation therefore chooses its learning rate on the validation split.
    """
    return Selection(Outcome(images.cpu(), labels.cpu(), "hard", None))


def last_snapshot(task: Task, epochs: int) -> FlatParams:
    """The parameters [P] of the task's first expert after `epochs` epochs.

    Raises ExpertError if the task has no expert, or if the first expert has fewer epochs.
    """
    if not task.experts:
        raise ExpertError(f"an expert of {epochs} epochs is needed and there is none; train one (satm experts)")
    return task.experts[0].snapshot(epochs).to(task.device)
