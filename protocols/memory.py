"""A memory that holds every image it is given, as an Avalanche storage policy.

Imports Avalanche, so it is itself imported where used (`protocols.gdumb`).
"""

from __future__ import annotations

from typing import Any

from avalanche.training.storage_policy import ExemplarsBuffer
from torch.utils.data import default_collate

from protocols.stored import Stored
from satm.errors import ConfigError


class CondensedMemory(ExemplarsBuffer):  # type: ignore[misc]
    """Grows by all of each experience's images: condensation chose them, so none is sampled, replaced or dropped.

    Avalanche's balanced buffers draw from the global random stream and may drop some (field notes §3.2).
    """

    buffer: Any  # an AvalancheDataset; the base class makes it a property

    def post_adapt(self, agent_state: Any, exp: Any) -> None:
        """Take in the images of experience `exp`."""
        self.buffer = self.buffer.concat(exp.dataset)

    def resize(self, strategy: Any, new_size: int) -> None:
        """Refused with ConfigError: the budget was settled when the set was condensed."""
        raise ConfigError(f"memory size {new_size}: a condensed memory keeps its {self.max_size} images; condense anew")

    def examples(self) -> Stored:
        """Everything held, in order of arrival."""
        return Stored(*default_collate([self.buffer[i] for i in range(len(self.buffer))]))
