"""The interface of a class-incremental protocol: its entry in `PROTOCOLS`, and the learner it starts on a stream.

To add one, write one file in `protocols/methods` that ends with `PROTOCOLS.add(…)`.
"""

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
"""The tensors that a learner carries from one incremental step to the next, besides its memory."""


class LabelledExamples(Examples, TypingProtocol):
    """Examples whose classes are known without reading the images: a split of real data."""

    @property
    def labels(self) -> torch.Tensor:
        """[n] int64."""


@dataclass(frozen=True, kw_only=True)
class StreamContext:
    """What a learner works with on one stream. The caller makes the memory; a learner never does."""

    networks: Networks
    seed: Seed
    arriving: tuple[Any, ...]  # Avalanche data sets: the images that each step adds to the memory; () without a memory
    buffer: int | None = None  # images that the memory holds from the start; None: it keeps every image that arrives
    each: int = 1  # images in `arriving` that come from one stored image; `buffer` counts the stored ones

    @property
    def start(self) -> nn.Module:
        """The untrained network of this stream. The first step of every protocol starts from it."""
        return self.networks.untrained(self.step_seed(0))

    def step_seed(self, step: int) -> Seed:
        """The seed of the network and the training of incremental step `step`, counted from 0."""
        return self.seed.child("step", step)


class Learner(TypingProtocol):
    """A protocol at work on one stream. It draws from Torch's global stream, which the caller has seeded."""

    @property
    def held(self) -> int:
        """Number of images kept for later steps, as they are in `StreamContext.arriving`."""

    def learn(self, experience: Any) -> nn.Module | None:
        """Learn one step of the Avalanche train stream.

        Returns the network after the step, None if the step trains no network.
        """

    def skip(self, experience: Any) -> None:
        """Pass a step whose numbers are already known, without training. The memory grows as in `learn`."""

    def state(self) -> State:
        """Everything that `restore` needs. Called after a step, only for a protocol that `builds_on` the one before."""

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Return to the `state` saved after some step. The caller then skips the steps up to that one."""


@dataclass(frozen=True, kw_only=True)
class ClassIncremental:
    """An entry of `PROTOCOLS`."""

    name: str
    summary: str  # one line, with the paper
    begin: Callable[[StreamContext, Any], Learner]
    config: type[Any]  # frozen dataclass
    reads: Literal["memory", "real"]  # its train stream: the images of the memory, or real images
    memory: bool = True  # whether it uses a memory
    one_hot: bool = True  # if the memory has soft labels, real targets become vectors too; ER-ACE needs classes instead
    trains_by_recipe: bool = False  # whether `Networks.trained` trains its networks, perhaps in compiled code
    builds_on: bool = False  # whether a step starts from the network of the step before, whose state is then saved
    own_optimizer: bool = False  # whether its config says how it trains although no step builds on another
    keeps_logits: bool = False  # whether K logits are kept beside each image of the memory; they count in its bytes
    judged: Literal["every step", "last step"] = "every step"
    recipe: str | None = None  # use this evaluation recipe if it exists; None: the set's own recipe
    scales: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # changes of the config's defaults, by scale

    @property
    def trains_itself(self) -> bool:
        """Whether its config, and not the evaluation recipe, has its learning rate and epochs."""
        return self.builds_on or self.own_optimizer

    def configured(self, scale: str) -> Any:
        """The config at a scale: `paper`, `cpu` or `smoke`."""
        return self.config(**self.scales.get(scale, {}))


PROTOCOLS: Names[ClassIncremental] = Names(
    "protocol", package="protocols.methods", group="satm.protocols", expects=ClassIncremental
)
