"""A memory of given images, as an Avalanche storage policy.

This module imports Avalanche, so import it inside functions.
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
    """A memory of given images. At each incremental step the images of that step arrive; no draw is made.

    `arriving` holds the Avalanche data set of each step. Without `size` the memory grows: it keeps every image. With
    `size` M it is a buffer of M images from the start, shared evenly by the classes that have arrived
    (`protocols.buffer`). If networks see several images of each stored one (`each`), M counts the stored ones.
    Avalanche's own balanced buffers draw from the global random stream (docs/field.md).
    """

    buffer: Any  # an AvalancheDataset; the base class makes it a property

    def __init__(self, arriving: Sequence[Any], size: int | None = None, each: int = 1) -> None:
        self.arriving, self._size = tuple(arriving), size
        self._arrived: Any = None  # an AvalancheDataset of all images so far
        self._held = held([torch.tensor(list(step.targets)) for step in self.arriving], size, each)
        super().__init__(sum(map(len, self.arriving)) if size is None else size * each)

    def behind(self, strategy: Callable[..., Any], **settings: Any) -> Callable[..., Any]:
        """A `make` for `AvalancheLearner`: it builds `strategy` with `settings`, and with this memory as the buffer."""

        def make(**common: Any) -> Any:
            made = strategy(mem_size=self.max_size, **settings, **common)
            made.storage_policy = self
            return made

        return make

    def post_adapt(self, agent_state: Any, exp: Any) -> None:
        """Add the images of experience `exp`."""
        self.take(exp.current_experience)

    def update(self, strategy: Any, **kwargs: Any) -> None:
        """Do `post_adapt`. Avalanche 0.6 still calls this one, and the base class's version warns."""
        self.post_adapt(strategy, strategy.experience)

    def take(self, step: int) -> None:
        """Add the images of `step`. Raises ConfigError if there are none for it."""
        if step >= len(self.arriving):
            raise ConfigError(f"experience {step + 1}: the memory has images for {len(self.arriving)} only")
        self._add(self.arriving[step], step)

    def state(self) -> dict[str, torch.Tensor]:
        """The tensors that `restore` needs: none, since every image is given."""
        return {}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Use `state` in the calls of `take` that follow."""

    def size_after(self, step: int) -> int:
        """Number of images held after `step`."""
        return len(self._held[step])

    def _add(self, dataset: Any, step: int) -> None:
        # If the first of two joined data sets is empty, Avalanche forgets what its items consist of.
        self._arrived = dataset if self._arrived is None else self._arrived.concat(dataset)
        self.buffer = self._arrived if self._size is None else self._arrived.subset(self._held[step].tolist())

    def resize(self, strategy: Any, new_size: int) -> None:
        """Raise ConfigError: the budget was fixed when the memory was made."""
        raise ConfigError(f"memory size {new_size}: a given memory keeps its {self.max_size} images; make another")

    def examples(self) -> TensorExamples:
        """All images held and their targets, in order of arrival."""
        images, targets, *_ = default_collate([self.buffer[i] for i in range(len(self.buffer))])
        return TensorExamples(images, targets)


class LogitsMemory(GivenMemory):
    """`GivenMemory` that keeps the network's logits beside each image, taken when the image arrives. DER needs them."""

    def __init__(self, arriving: Sequence[Any], size: int | None = None, each: int = 1) -> None:
        super().__init__(arriving, size, each)
        self._logits: list[torch.Tensor] = []  # [m, K] of each step, also of images that the buffer has dropped
        self._saved: torch.Tensor | None = None  # [n, K] of the steps that are about to be skipped

    def post_adapt(self, agent_state: Any, exp: Any) -> None:
        """Add the images of the step with the logits that `agent_state`'s network gives in evaluation mode."""
        step = exp.current_experience
        rows = compute_dataset_logits(
            self.arriving[step], agent_state.model, agent_state.train_mb_size, agent_state.device
        )
        self._keep(step, torch.stack(rows))

    def take(self, step: int) -> None:
        """Add the images of `step` with the restored logits. Raises ConfigError without `restore`."""
        if self._saved is None:
            raise ConfigError(f"no logits were kept for step {step + 1}; start this stream over")
        before = sum(map(len, self._logits))
        self._keep(step, self._saved[before : before + len(self.arriving[step])])

    def state(self) -> dict[str, torch.Tensor]:
        """The logits [n, K] of all images that have arrived."""
        return {"logits": torch.cat(self._logits)}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Use the logits in `state` for the steps that `take` adds next."""
        self._saved = state["logits"]

    def _keep(self, step: int, logits: torch.Tensor) -> None:
        self._logits.append(logits)
        kept = FlatData([list(logits)], discard_elements_not_in_indices=True)
        attribute = TensorDataAttribute(kept, name="logits", use_in_getitem=True)
        self._add(AvalancheDataset([self.arriving[step]], data_attributes=[attribute]), step)
