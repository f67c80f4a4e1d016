"""The settings of protocols that train one network on the stream of real images."""

from __future__ import annotations

from dataclasses import dataclass

from satm.errors import ConfigError
from satm.training import SGDConfig

SCALES = {"cpu": {"epochs": 5}, "smoke": {"epochs": 1}}
"""Fewer passes over each step's images than the 50 of DER's experiments, by scale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamConfig:
    """SGD over each step's images. Defaults: DER++ on Split CIFAR-10 with 500 images (mammoth, models' best_args)."""

    epochs: int = 50  # over each step's images
    batch_size: int = 32  # of the stream
    learning_rate: float = 0.03
    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ConfigError(f"epochs {self.epochs}: expected 1 or more over each step's images")
        self.sgd(0)

    def sgd(self, step: int) -> SGDConfig:
        """The optimisation of incremental step `step`. It is the same for all steps."""
        return SGDConfig(
            epochs=self.epochs,
            lr=self.learning_rate,
            batch_size=self.batch_size,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayConfig(StreamConfig):
    """`StreamConfig`, and the number of memory images beside each batch."""

    memory_batch_size: int = 32  # at most; a smaller memory is used whole

    def __post_init__(self) -> None:
        StreamConfig.__post_init__(self)  # not super(): slots make a new class, and super() finds the old one
        if self.memory_batch_size < 1:
            raise ConfigError(f"memory_batch_size {self.memory_batch_size}: expected 1 or more")
