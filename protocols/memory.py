"""A memory with given images. It is an Avalanche storage policy, the object that chooses which images are kept.

This module imports Avalanche, which takes long. So import this module only inside functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from avalanche.benchmarks.utils.data import AvalancheDataset
from avalanche.benchmarks.utils.data_attribute import TensorDataAttribute
from avalanche.benchmarks.utils.flat_data import FlatData
from avalanche.training.storage_policy import ExemplarsBuffer
from avalanche.training.supervised.der import compute_dataset_logits
from torch.utils.data import default_collate

from protocols.buffer import held
from satm.errors import ConfigError
from satm.examples import TensorExamples


class GivenMemory(ExemplarsBuffer):  # type: ignore[misc]
    """A memory with given images. In each incremental step, the images of this step arrive. Nothing is drawn at random.

    Avalanche's own balanced buffers draw their images from the global random generator (docs/field.md).

    Args:
        arriving: for each step, an Avalanche data set of the images that arrive.
        size: the size M of the memory in stored images. All classes that have arrived share it evenly
            (`protocols.buffer`). None: the memory grows and keeps every image.
        each: the number of consecutive images in `arriving` that are made from one stored image.
    """

    buffer: Any  # an AvalancheDataset of the images that are held now; in the base class it is a property

    def __init__(self, arriving: Sequence[Any], size: int | None = None, each: int = 1) -> None:
        self.arriving, self._size = tuple(arriving), size
        self._arrived: Any = None  # an AvalancheDataset of all images so far
        self._held = held([torch.tensor(list(step.targets)) for step in self.arriving], size, each)
        super().__init__(sum(map(len, self.arriving)) if size is None else size * each)

    def behind(self, strategy: Callable[..., Any], **settings: Any) -> Callable[..., Any]:
        """A function for the argument `make` of `AvalancheLearner`.

        It builds an Avalanche strategy of the class `strategy` with `settings` and with this memory as its buffer.
        """

        def make(**common: Any) -> Any:
            made = strategy(mem_size=self.max_size, **settings, **common)
            made.storage_policy = self
            return made

        return make

    def post_adapt(self, agent_state: Any, exp: Any) -> None:
        """Add the images of the step of experience `exp`. It is the present name of `update` in Avalanche."""
        self.take(exp.current_experience)

    def update(self, strategy: Any, **kwargs: Any) -> None:
        """Call `post_adapt`. Avalanche 0.6 calls `update`; that of the base class does the same, but with a warning."""
        self.post_adapt(strategy, strategy.experience)

    def take(self, step: int) -> None:
        """Add the images of `step`, counted from 0. Raises ConfigError if the memory has no images for this step."""
        if step >= len(self.arriving):
            raise ConfigError(f"experience {step + 1}: the memory has images for {len(self.arriving)} only")
        self._add(self.arriving[step], step)

    def state(self) -> dict[str, torch.Tensor]:
        """The tensors that `restore` needs. There are none, because all images are given."""
        return {}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Do nothing, because this memory has no state.

        A subclass with a state, such as `LogitsMemory`, keeps the argument, and its `take` uses it later.
        """

    def size_after(self, step: int) -> int:
        """The number of images that the memory holds after `step`."""
        return len(self._held[step])

    def _add(self, dataset: Any, step: int) -> None:
        # Begin with the data set of the first step, not with an empty one. If the first of two joined data sets is
        # empty, Avalanche loses the structure of the items.
        self._arrived = dataset if self._arrived is None else self._arrived.concat(dataset)
        self.buffer = self._arrived if self._size is None else self._arrived.subset(self._held[step].tolist())

    def resize(self, strategy: Any, new_size: int) -> None:
        """Raise ConfigError, because the size is fixed when the memory is made."""
        raise ConfigError(f"memory size {new_size}: a given memory keeps its {self.max_size} images; make another")

    def examples(self) -> TensorExamples:
        """All images that the memory holds now and their targets, in the order of arrival."""
        images, targets, *_ = default_collate([self.buffer[i] for i in range(len(self.buffer))])
        return TensorExamples(images, targets)


class LogitsMemory(GivenMemory):
    """A `GivenMemory` for DER, which needs for each image the logits that the network gave after the image's step."""

    def __init__(self, arriving: Sequence[Any], size: int | None = None, each: int = 1) -> None:
        super().__init__(arriving, size, each)
        # For each step that has arrived, the logits [m, K] of its images. Images that the buffer dropped are included.
        self._logits: list[torch.Tensor] = []
        self._saved: torch.Tensor | None = None  # the restored logits [n, K] of the steps that `take` adds next

    def post_adapt(self, agent_state: Any, exp: Any) -> None:
        """Add the images of the step, with the logits of the strategy's network in evaluation mode.

        `agent_state` is the Avalanche strategy, and `exp` is the experience of the step.
        """
        step = exp.current_experience
        rows = compute_dataset_logits(
            self.arriving[step], agent_state.model, agent_state.train_mb_size, agent_state.device
        )
        self._keep(step, torch.stack(rows))

    def take(self, step: int) -> None:
        """Add the images of `step` with the restored logits. Raises ConfigError if `restore` was not called before."""
        if self._saved is None:
            raise ConfigError(f"no logits were kept for step {step + 1}; start this stream over")
        before = sum(map(len, self._logits))
        self._keep(step, self._saved[before : before + len(self.arriving[step])])

    def state(self) -> dict[str, torch.Tensor]:
        """The logits [n, K] of all images that have arrived, under the name "logits"."""
        return {"logits": torch.cat(self._logits)}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Use the logits in `state` for the steps that `take` adds next."""
        self._saved = state["logits"]

    def _keep(self, step: int, logits: torch.Tensor) -> None:
        self._logits.append(logits)
        kept = FlatData([list(logits)], discard_elements_not_in_indices=True)
        attribute = TensorDataAttribute(kept, name="logits", use_in_getitem=True)
        self._add(AvalancheDataset([self.arriving[step]], data_attributes=[attribute]), step)
