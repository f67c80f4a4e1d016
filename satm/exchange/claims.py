"""The facts about an imported file that the user states because the file does not state them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from satm.errors import ConfigError
from satm.exchange.base import LABEL_KINDS, SPACES, Space
from satm.types import LabelKind

_METHOD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Claims:
    """The facts that the user states with the options of an import.

    A field is None if the user does not state this fact. Raises ConfigError if a value is impossible, or if mean and
    std are not given together or do not fit `preprocessing`.
    """

    dataset: str | None = None
    preprocessing: Space | None = None
    step_size: float | None = None  # the step size α that belongs to the set
    labels: LabelKind | None = None
    method: str | None = None  # the name of the method that made the set
    ipc: int | None = None  # images per class
    index: int | None = None  # the position of the set in a file that holds several sets, from 0
    mean: tuple[float, ...] | None = None  # the mean of each channel, used instead of the layout's own constants
    std: tuple[float, ...] | None = None  # the standard deviation of each channel, used in the same way
    architecture: str | None = None

    def __post_init__(self) -> None:
        if self.preprocessing not in (None, *SPACES):
            raise ConfigError(f"preprocessing {self.preprocessing}: expected {', '.join(SPACES)}")
        if self.labels not in (None, *LABEL_KINDS):
            raise ConfigError(f"labels {self.labels}: expected hard, probabilities or logits")
        if self.step_size is not None and not 0 < self.step_size < 1e30:
            raise ConfigError(f"step_size {self.step_size}: expected a finite number above 0")
        if self.method is not None and not _METHOD.fullmatch(self.method):
            raise ConfigError(f"method {self.method!r}: expected letters, digits and . _ + -")
        if self.ipc is not None and not 1 <= self.ipc < 10**9:
            raise ConfigError(f"ipc {self.ipc}: expected at least 1 image per class")
        if (self.mean is None) != (self.std is None):
            raise ConfigError("mean and std belong together; give both or neither")
        if self.mean is not None and self.preprocessing not in (None, "meanstd"):
            raise ConfigError(f"mean and std are constants of meanstd, not of {self.preprocessing}; leave them out")

    def check(self, says: Mapping[str, Any]) -> None:
        """Raise ConfigError if a claim contradicts the file. `says` maps names of fields to the values in the file."""
        for name, value in says.items():
            claimed = getattr(self, name)
            if claimed is not None and claimed != value:
                raise ConfigError(f"the file says {name} {value}, not {claimed}; leave --{name.replace('_', '-')} out")

    def completed(self, says: Mapping[str, Any]) -> Claims:
        """Return the claims, completed: a fact that the user does not state has the value in the file, if there is one.

        `says` maps names of fields to the values in the file. Raises ConfigError as `check` does.
        """
        self.check(says)
        return replace(self, **{name: value for name, value in says.items() if getattr(self, name) is None})
