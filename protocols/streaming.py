"""The settings of protocols that train one network on the stream of real images."""

from __future__ import annotations

from dataclasses import dataclass

from satm.errors import ConfigError
from satm.training import SGDConfig

SCALES = {"cpu": {"epochs": 5}, "smoke": {"epochs": 1}}
"""The settings that replace defaults at a smaller scale, by the name of the scale.

They have fewer epochs than the 50 epochs of DER's experiments.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamConfig:
    """The settings of SGD on the images of each incremental step. Raises ConfigError for a value out of its range.

    The defaults are the settings of DER++ on Split CIFAR-10 with a memory of 500 images. They come from the repository
    mammoth (`best_args` of its models).
    """

    epochs: int = 50  # the number of passes over the images of each step
    batch_size: int = 32  # the number of stream images in a batch, not counting images of the memory
    learning_rate: float = 0.03
    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ConfigError(f"epochs {self.epochs}: expected at least 1 pass over each step's images")
        self.sgd(0)

    def sgd(self, step: int) -> SGDConfig:
        """Return the settings of the optimiser for incremental step `step`. They are the same for all steps."""
        return SGDConfig(
            epochs=self.epochs,
            lr=self.learning_rate,
            batch_size=self.batch_size,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayConfig(StreamConfig):
    """The settings of `StreamConfig`, and the number of memory images that are replayed with each batch of the stream.

    Raises ConfigError for a value out of its range.
    """

    memory_batch_size: int = 32  # the number of memory images; if the memory holds fewer, all of them are replayed

    def __post_init__(self) -> None:
        # `super()` does not work here: `slots=True` makes a new class, but `super()` refers to the old class.
        StreamConfig.__post_init__(self)
        if self.memory_batch_size < 1:
            raise ConfigError(f"memory_batch_size {self.memory_batch_size}: expected at least 1")
