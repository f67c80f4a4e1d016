"""The configuration of an imported set, which says how to evaluate it.

For a set that this suite condenses, the preset says how to evaluate it.
"""

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
    image_size: int  # the height and width of the images in pixels
    space: Space
    architecture: str  # the network of the in-domain evaluation; by default the ConvNet that most papers use
    format: str  # the name of the layout
    index: int | None = None  # the position of the set in a file that holds several sets, from 0
    recipe: str | None = None  # null: the recipe of the machine's default profile; for `paper` the method's recipe
    validation: float = 0.1  # the fraction of the training images that is held out, as for every set
    moments_checked: bool = True  # false: mean or std do not fit the space, but the user stored the set with --force

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
