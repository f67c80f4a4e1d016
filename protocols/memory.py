"""A memory that holds every image it is given, as an Avalanche storage policy.

Imports Avalanche, so it is itself imported where used.
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

from protocols.stored import Stored
from satm.errors import ConfigError


class GivenMemory(ExemplarsBuffer):  # type: ignore[misc]
    """Grows at each step by all of the images meant for it: whoever made them chose, so none is sampled or dropped.

    `arriving` are the Avalanche data sets of the steps. Avalanche's balanced buffers draw from the global random stream
    and may drop some (field notes §3.2).
    """

    buffer: Any  # an AvalancheDataset; the base class makes it a property

    def __init__(self, arriving: Sequence[Any]) -> None:
        super().__init__(sum(map(len, arriving)))
        self.arriving = tuple(arriving)

    def behind(self, strategy: Callable[..., Any], **settings: Any) -> Callable[..., Any]:
        """What makes a `strategy` with this as its buffer, of `settings` and what an `AvalancheLearner` adds."""

        def make(**common: Any) -> Any:
            made = strategy(mem_size=self.max_size, **settings, **common)
            made.storage_policy = self
            return made

        return make

    def post_adapt(self, agent_state: Any, exp: Any) -> None:
        """Take in the images of the step that `exp` is."""
        self.take(exp.current_experience)

    def update(self, strategy: Any, **kwargs: Any) -> None:
        """What Avalanche 0.6 still calls; the base class's warns."""
        self.post_adapt(strategy, strategy.experience)

    def take(self, step: int) -> None:
        """Take in the images of `step`."""
        self._add(self.arriving[step])

    def _add(self, dataset: Any) -> None:
        # Avalanche forgets what its items consist of where the first of two data sets is empty.
        self.buffer = self.buffer.concat(dataset) if len(self.buffer) else dataset

    def resize(self, strategy: Any, new_size: int) -> None:
        """Refused with ConfigError: the budget was settled when the memory was made."""
        raise ConfigError(f"memory size {new_size}: a given memory keeps its {self.max_size} images; make another")

    def examples(self) -> Stored:
        """Everything held, in order of arrival."""
        images, targets, *_ = default_collate([self.buffer[i] for i in range(len(self.buffer))])
        return Stored(images, targets)


class LogitsMemory(GivenMemory):
    """`GivenMemory` that keeps beside each image what the network made of it when it arrived, as DER wants."""

    def __init__(self, arriving: Sequence[Any]) -> None:
        super().__init__(arriving)
        self._logits: list[torch.Tensor] = []  # [m, K] of each step
        self._saved: torch.Tensor | None = None  # [n, K] of the steps about to be skipped

    def post_adapt(self, agent_state: Any, exp: Any) -> None:
        """Take in the images of the step with the logits of `agent_state`'s network, in evaluation mode."""
        dataset = self.arriving[exp.current_experience]
        rows = compute_dataset_logits(dataset, agent_state.model, agent_state.train_mb_size, agent_state.device)
        self._keep(dataset, torch.stack(rows))

    def take(self, step: int) -> None:
        """Take in the images of `step` with the logits that were restored."""
        if self._saved is None:
            raise ConfigError(f"no logits were kept for step {step + 1}; start this stream over")
        size = len(self.arriving[step])
        self._keep(self.arriving[step], self._saved[len(self.buffer) : len(self.buffer) + size])

    def state(self) -> dict[str, torch.Tensor]:
        """The logits [n, K] of everything held."""
        return {"logits": torch.cat(self._logits)}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Have the logits of steps that are then taken without a network."""
        self._saved = state["logits"]

    def _keep(self, dataset: Any, logits: torch.Tensor) -> None:
        self._logits.append(logits)
        kept = FlatData([list(logits)], discard_elements_not_in_indices=True)
        attribute = TensorDataAttribute(kept, name="logits", use_in_getitem=True)
        self._add(AvalancheDataset([dataset], data_attributes=[attribute]))
