"""The configuration of an imported set: how to evaluate it. A condensed set gets this from its preset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from satm.config import from_dict
from satm.config import to_dict as plain
from satm.errors import ConfigError
from satm.exchange.base import Space


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportConfig:
    """How an imported set is evaluated. Raises ConfigError if a value is outside its range."""

    dataset: str
    ipc: int
    image_size: int  # pixels a side
    space: Space
    architecture: str  # of the in-domain evaluation; by default the field's ConvNet
    format: str
    index: int | None = None  # which of the file's sets, from 0
    recipe: str | None = None  # null: that of this machine's profile; at `paper` the method's
    validation: float = 0.1  # fraction of train that is held out, as for every set
    moments_checked: bool = True  # false: its moments do not fit, and --force stored it

    def __post_init__(self) -> None:
        if self.ipc < 1:
            raise ConfigError(f"ipc {self.ipc}: expected at least 1 image per class")
        if not 1 <= self.image_size <= 4096:
            raise ConfigError(f"image_size {self.image_size}: expected 1 to 4096 pixels")
        if not 0 < self.validation < 1:
            raise ConfigError(f"validation {self.validation}: expected a fraction between 0 and 1")

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dictionary; `from_dict` is its inverse."""
        return plain(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ImportConfig:
        """Rebuild the configuration. Raises UnknownName for unknown settings, ConfigError for wrong or missing ones."""
        return from_dict(cls, values)
