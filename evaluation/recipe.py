"""Recipes: how a network is trained on a synthetic set for evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from satm.augment import DSA, STRATEGY
from satm.errors import ConfigError
from satm.names import Names
from satm.synthetic import digest
from satm.training import SGDConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that shapes an evaluation network besides its architecture, its seed and the set.

    Raises ConfigError, or UnknownName for an unknown augmentation.
    """

    name: str
    version: int = 1  # raised when a recipe of this name changes
    epochs: int
    batch_size: int = 256
    momentum: float = 0.9
    weight_decay: float = 5e-4
    drop_at: tuple[int, ...] = ()  # epochs finished before the learning rate is multiplied by `decay`
    decay: float = 0.1
    augment: str | None = STRATEGY  # a DSA strategy
    learning_rate: Literal["learned", "grid"] | float = "learned"  # the set's step size, chosen from `grid`, or stated
    grid: tuple[float, ...] = (0.001, 0.005, 0.01, 0.05, 0.1)  # to choose from on validation; DD-Ranking's
    repeats: int = 5  # networks an architecture
    scale: Literal["paper", "cpu", "smoke"] = "paper"  # what its numbers may be called
    source: str
    departures: tuple[str, ...] = ()  # from the source, each with its reason

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.repeats < 1:
            raise ConfigError(f"recipe of {self.epochs} epochs and {self.repeats} repeats: expected 1 or more of each")
        if list(self.drop_at) != sorted(set(self.drop_at)) or not all(0 < e < self.epochs for e in self.drop_at):
            raise ConfigError(f"drop_at {self.drop_at}: expected rising epochs between 1 and {self.epochs - 1}")
        if not 0 < self.decay <= 1:
            raise ConfigError(f"decay {self.decay}: expected 0 < decay ≤ 1")
        if not self.grid or not all(math.isfinite(lr) and lr > 0 for lr in self.grid):
            raise ConfigError(f"grid {self.grid}: expected one or more finite learning rates above 0")
        if isinstance(self.learning_rate, str) and self.learning_rate not in ("learned", "grid"):
            raise ConfigError(f"learning rate '{self.learning_rate}': expected learned, grid or a number above 0")
        self.sgd(self.grid[0] if isinstance(self.learning_rate, str) else self.learning_rate)
        _ = self.augmentation

    def sgd(self, learning_rate: float) -> SGDConfig:
        """The optimisation at `learning_rate`; raises ConfigError when that is not above 0."""
        return SGDConfig(
            epochs=self.epochs,
            lr=learning_rate,
            batch_size=self.batch_size,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            milestones=self.drop_at,
            decay=self.decay,
        )

    @property
    def augmentation(self) -> DSA | None:
        """What training batches pass through."""
        return None if self.augment is None else DSA(self.augment)

    def variant(
        self, *, augment: str | None = None, learning_rate: Literal["learned", "grid"] | float | None = None
    ) -> Recipe:
        """The same recipe with another augmentation or learning-rate policy, which its name then says.

        A recipe without augmentation stays without.
        """
        name = self.name
        if augment is None or self.augment is None or augment == self.augment:
            augment = self.augment
        else:
            name += f", {augment}"
        if learning_rate is None or learning_rate == self.learning_rate:
            learning_rate = self.learning_rate
        else:
            name += f", lr {learning_rate}"
        return replace(self, name=name, augment=augment, learning_rate=learning_rate)

    @property
    def digest(self) -> str:
        """sha256 of the whole recipe, as hex."""
        return digest(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able description; `from_dict` is its inverse."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Rebuild a recipe; raises ConfigError for a key too many or too few."""
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ConfigError(f"recipe has no setting {', '.join(unknown)}; it has {', '.join(sorted(known))}")
        settings: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        try:
            return cls(**settings)
        except TypeError as error:
            raise ConfigError(f"recipe {dict(values)} cannot be read: {error}") from error


_FIELD = "evaluate_synset of MTT (utils.py:352-389 at 50dccea), which FTD, TESLA, DATM, DC and DM share"
_MOMENTUM = "momentum is kept when the learning rate drops: the field re-creates its optimiser there, by accident"
_SHORT_GRID = (0.003, 0.01, 0.03, 0.1, 0.3)
_WIDER = "a grid that reaches 0.3: with so few steps random digits did best between 0.05 and 0.5"

RECIPES: Names[Recipe] = Names("recipe")
RECIPES.add(
    "mtt",
    Recipe(name="mtt", epochs=1001, drop_at=(502,), source=_FIELD, departures=(_MOMENTUM,)),
)
RECIPES.add(
    "cpu",
    Recipe(
        name="cpu",
        scale="cpu",
        epochs=300,
        drop_at=(151,),
        grid=_SHORT_GRID,
        source=_FIELD,
        departures=(_MOMENTUM, "300 epochs for 1001, so that a repeat takes minutes on a CPU", _WIDER),
    ),
)
RECIPES.add(
    "smoke",
    Recipe(
        name="smoke",
        scale="smoke",
        epochs=60,
        drop_at=(31,),
        grid=_SHORT_GRID,
        repeats=2,
        source=_FIELD,
        departures=(_MOMENTUM, "60 epochs for 1001 and 2 repeats for 5: shows that everything works, no more", _WIDER),
    ),
)
