"""A memory that keeps every image of a given set, as an Avalanche storage policy.

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

from satm.errors import ConfigError
from satm.examples import TensorExamples


class GivenMemory(ExemplarsBuffer):  # type: ignore[misc]
    """A memory that grows at each incremental step by all images of that step. It samples none and drops none.

    `arriving` holds the Avalanche data set of each step. Avalanche's own balanced buffers draw from the global random
    stream and may drop images (docs/field.md).
    """

    buffer: Any  # an AvalancheDataset; the base class makes it a property

    def __init__(self, arriving: Sequence[Any]) -> None:
        super().__init__(sum(map(len, arriving)))
        self.arriving = tuple(arriving)

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
        """Add the images of `step`."""
        self._add(self.arriving[step])

    def state(self) -> dict[str, torch.Tensor]:
        """The tensors that `restore` needs: none, since every image is given."""
        return {}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Use `state` in the calls of `take` that follow."""

    def _add(self, dataset: Any) -> None:
        # If the first of two joined data sets is empty, Avalanche forgets what its items consist of.
        self.buffer = self.buffer.concat(dataset) if len(self.buffer) else dataset

    def resize(self, strategy: Any, new_size: int) -> None:
        """Raise ConfigError: the budget was fixed when the memory was made."""
        raise ConfigError(f"memory size {new_size}: a given memory keeps its {self.max_size} images; make another")

    def examples(self) -> TensorExamples:
        """All images held and their targets, in order of arrival."""
        images, targets, *_ = default_collate([self.buffer[i] for i in range(len(self.buffer))])
        return TensorExamples(images, targets)


class LogitsMemory(GivenMemory):
    """`GivenMemory` that keeps the network's logits beside each image, taken when the image arrives. DER needs them."""

    def __init__(self, arriving: Sequence[Any]) -> None:
        super().__init__(arriving)
        self._logits: list[torch.Tensor] = []  # [m, K] of each step
        self._saved: torch.Tensor | None = None  # [n, K] of the steps that are about to be skipped

    def post_adapt(self, agent_state: Any, exp: Any) -> None:
        """Add the images of the step with the logits that `agent_state`'s network gives in evaluation mode."""
        dataset = self.arriving[exp.current_experience]
        rows = compute_dataset_logits(dataset, agent_state.model, agent_state.train_mb_size, agent_state.device)
        self._keep(dataset, torch.stack(rows))

    def take(self, step: int) -> None:
        """Add the images of `step` with the restored logits. Raises ConfigError without `restore`."""
        if self._saved is None:
            raise ConfigError(f"no logits were kept for step {step + 1}; start this stream over")
        size = len(self.arriving[step])
        self._keep(self.arriving[step], self._saved[len(self.buffer) : len(self.buffer) + size])

    def state(self) -> dict[str, torch.Tensor]:
        """The logits [n, K] of all images held."""
        return {"logits": torch.cat(self._logits)}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Use the logits in `state` for the steps that `take` adds next."""
        self._saved = state["logits"]

    def _keep(self, dataset: Any, logits: torch.Tensor) -> None:
        self._logits.append(logits)
        kept = FlatData([list(logits)], discard_elements_not_in_indices=True)
        attribute = TensorDataAttribute(kept, name="logits", use_in_getitem=True)
        self._add(AvalancheDataset([dataset], data_attributes=[attribute]))
