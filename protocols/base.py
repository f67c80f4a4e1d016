"""What a class-incremental protocol is: an entry of `PROTOCOLS`, and the learner that it begins on one stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias
from typing import Protocol as TypingProtocol

import torch
from torch import nn

from protocols.networks import Networks
from satm.names import Names
from satm.rng import Seed
from satm.types import Examples

State: TypeAlias = dict[str, torch.Tensor]
"""What a learner carries from one step to the next, besides its memory."""


class LabelledExamples(Examples, TypingProtocol):
    """Examples whose classes are known without reading the images: a split of real data."""

    @property
    def labels(self) -> torch.Tensor:
        """[n] int64."""


@dataclass(frozen=True, kw_only=True)
class StreamContext:
    """What a learner is given. It builds no memory: it is handed one."""

    networks: Networks
    seed: Seed
    arriving: tuple[Any, ...]  # Avalanche data sets: the images that each step adds to the memory; () without one

    @property
    def start(self) -> nn.Module:
        """The untrained network of this stream: the first step begins at it, whatever the protocol."""
        return self.networks.untrained(self.step_seed(0))

    def step_seed(self, step: int) -> Seed:
        """Of step `step`'s network and training."""
        return self.seed.child("step", step)


class Learner(TypingProtocol):
    """A protocol under way on one stream. Its draws are from Torch's global stream, which the caller has seeded."""

    @property
    def held(self) -> int:
        """Images kept for later steps."""

    def learn(self, experience: Any) -> nn.Module | None:
        """Take one step of the Avalanche train stream; the network afterwards, None where none was trained."""

    def skip(self, experience: Any) -> None:
        """Take a step whose numbers are there already, without training."""

    def state(self) -> State:
        """What `restore` needs beside the skipped steps; {} for a learner whose steps do not build on one another."""

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Be as after the step that `state` was taken at; the steps up to it are then skipped."""


@dataclass(frozen=True, kw_only=True)
class ClassIncremental:
    """An entry of `PROTOCOLS`."""

    name: str
    summary: str  # one line, with the paper
    begin: Callable[[StreamContext, Any], Learner]
    config: type[Any]  # frozen dataclass
    reads: Literal["memory", "real"]  # what its train stream is made of
    memory: bool = True  # whether it is handed one
    one_hot: bool = True  # whether real targets become vectors beside a memory of soft labels; ER-ACE asks for classes
    trains_by_recipe: bool = False  # whether networks come from `Networks.trained`, which may be compiled
    builds_on: bool = False  # whether a step's network starts from the one before: then its state has to be kept
    judged: Literal["every step", "last step"] = "every step"
    recipe: str | None = None  # the recipe it is meant for, where that is known here; null: that of the set's profile
    scales: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # changes of the config's defaults, by scale

    def configured(self, scale: str) -> Any:
        """The config at a scale: `paper`, `cpu` or `smoke`."""
        return self.config(**self.scales.get(scale, {}))


PROTOCOLS: Names[ClassIncremental] = Names(
    "protocol", package="protocols.methods", group="satm.protocols", expects=ClassIncremental
)
