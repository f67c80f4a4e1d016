"""The settings of protocols that train one network on the stream of real images."""

from __future__ import annotations

from dataclasses import dataclass

from satm.errors import ConfigError
from satm.training import SGDConfig

SCALES = {"cpu": {"epochs": 5}, "smoke": {"epochs": 1}}
"""Changes of the defaults, by scale: fewer epochs than the 50 of DER's experiments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamConfig:
    """Settings of SGD over each step's images.

    The defaults are those of DER++ on Split CIFAR-10 with a memory of 500 images (mammoth, `best_args` of its models).
    """

    epochs: int = 50  # passes over each step's images
    batch_size: int = 32  # images of the stream in a batch
    learning_rate: float = 0.03
    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ConfigError(f"epochs {self.epochs}: expected at least 1 pass over each step's images")
        self.sgd(0)

    def sgd(self, step: int) -> SGDConfig:
        """The optimiser's settings for incremental step `step`. They are the same for all steps."""
        return SGDConfig(
            epochs=self.epochs,
            lr=self.learning_rate,
            batch_size=self.batch_size,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayConfig(StreamConfig):
    """`StreamConfig`, and the number of memory images that are replayed with each batch of the stream."""

    memory_batch_size: int = 32  # images; a memory with fewer is replayed whole

    def __post_init__(self) -> None:
        StreamConfig.__post_init__(self)  # not super(): slots make a new class, and super() finds the old one
        if self.memory_batch_size < 1:
            raise ConfigError(f"memory_batch_size {self.memory_batch_size}: expected at least 1")
