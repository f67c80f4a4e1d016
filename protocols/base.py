"""The interface of a class-incremental protocol.

In a class-incremental stream, the classes of a data set arrive in several steps. A protocol is a way to learn from the
stream with the help of a memory of images. It consists of an entry in the table `PROTOCOLS` and of a learner, an object
that learns the steps of one stream. To add a protocol, write a file in `protocols/methods` that ends with
`PROTOCOLS.add(…)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias
from typing import Protocol as TypingProtocol

import torch
from torch import nn

from protocols.networks import Networks
from protocols.online.memory import ONLINE_MEMORIES, Keeping
from satm.names import Names
from satm.rng import Seed
from satm.types import Examples

State: TypeAlias = dict[str, torch.Tensor]
"""The tensors, by name, that a learner needs to continue after an incremental step. Images of a given memory are not
among them, those of an online memory are."""


class LabelledExamples(Examples, TypingProtocol):
    """Examples with classes that are known without reading the images, such as a split of real data."""

    @property
    def labels(self) -> torch.Tensor:
        """The classes [n] int64 of the examples."""


@dataclass(frozen=True, kw_only=True)
class StreamContext:
    """The input of a learner on one stream.

    The images of the memory are given, so a learner does not select them. Only online protocols choose images of the
    stream: they get `keeping` instead.
    """

    networks: Networks
    seed: Seed
    # For each step, an Avalanche data set of the images that arrive in the memory in this step; () without a memory.
    arriving: tuple[Any, ...]
    buffer: int | None = None  # the size of the memory in stored images; None: it keeps every image that arrives
    each: int = 1  # how many images in `arriving` are made from one stored image (see `satm.parametrisation`)
    keeping: Keeping | None = None  # the online memory; None for all protocols that are not online

    @property
    def start(self) -> nn.Module:
        """The untrained network with which the first step of every protocol starts on this stream."""
        return self.networks.untrained(self.step_seed(0))

    def step_seed(self, step: int) -> Seed:
        """The seed of the network and of the training in incremental step `step`, counted from 0."""
        return self.seed.child("step", step)


class Learner(TypingProtocol):
    """Learns the steps of one stream.

    Avalanche draws from torch's global random generator, so a learner may do so too. `protocols.run` seeds the
    generator for the stream and restores it afterwards.
    """

    @property
    def held(self) -> int:
        """The number of images that the learner keeps for later steps.

        If several images are made from one stored image (`StreamContext.each`), each of them is counted.
        """

    def learn(self, experience: Any) -> nn.Module | None:
        """Learn one step. `experience` is the step's part of the Avalanche train stream.

        Returns the network after the step, or None if the protocol trains no network in this step.
        """

    def skip(self, experience: Any) -> None:
        """Pass over a step that was already learnt before the stream was interrupted.

        Nothing is trained, but the images of the step are added to the memory as in `learn`.
        """

    def state(self) -> State:
        """The tensors from which `restore` can continue after the step that was learnt last.

        Called only for protocols that train one network further in every step (`ClassIncremental.builds_on`).
        """

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Load a `state` that was saved after a step. The caller then calls `skip` for all steps up to this one."""


@dataclass(frozen=True, kw_only=True)
class ClassIncremental:
    """An entry of the table `PROTOCOLS`: the properties of one protocol."""

    name: str
    summary: str  # one line for lists, with the source of the protocol
    begin: Callable[[StreamContext, Any], Learner]  # (stream, config of the protocol) → a learner for this stream
    config: type[Any]  # the class of the protocol's settings, a frozen dataclass
    # The images that arrive in each step. "real": the real images of the step. "memory": the protocol sees only the
    # images of its memory, as GDumb does.
    reads: Literal["memory", "real"]
    memory: bool = True  # whether the protocol uses a given memory: a condensed set, or real images in its place
    # Whether the protocol sees each real image at most once, and makes its memory from the stream while it runs. Such a
    # protocol is given no memory, and can use every memory in `ONLINE_MEMORIES`.
    online: bool = False
    # Whether the classes of real images become one-hot vectors [K] if the memory has soft labels, so that both can be
    # in one batch. False for ER-ACE, which needs classes.
    one_hot: bool = True
    # True: `Networks.trained` trains the networks as the recipe says, in compiled code if that pays. False: the
    # protocol has a training loop of its own.
    trains_by_recipe: bool = False
    # True: the protocol trains with the recipe's settings and a loss of its own. So it is never compiled, and takes no
    # labels from a teacher.
    own_loss: bool = False
    builds_on: bool = False  # whether each step continues to train the previous step's network; its state is then saved
    own_optimizer: bool = False  # whether the config has the settings of the optimiser although `builds_on` is false
    keeps_logits: bool = False  # whether the memory keeps K logits with each image; its size in bytes includes them
    judged: Literal["every step", "last step"] = "every step"  # the steps after which the network is tested
    # The name of the default evaluation recipe. If it is None, or if `RECIPES` has no recipe of this name, the recipe
    # of the set is used.
    recipe: str | None = None
    # Changes of the config's defaults for smaller runs, by scale ("cpu" or "smoke").
    scales: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def trains_itself(self) -> bool:
        """Whether learning rate and epochs come from the protocol's config, and not from the evaluation recipe."""
        return (self.builds_on or self.own_optimizer) and not self.own_loss

    @property
    def memories(self) -> tuple[str, ...]:
        """The kinds of memory that the protocol can use. The first is the default; () if it keeps no memory."""
        if self.online:
            return tuple(ONLINE_MEMORIES)
        return ("condensed", "random", "herding") if self.memory else ()

    def configured(self, scale: str) -> Any:
        """The config with the defaults of a scale: `paper`, `cpu` or `smoke`."""
        return self.config(**self.scales.get(scale, {}))


PROTOCOLS: Names[ClassIncremental] = Names(
    "protocol", package="protocols.methods", group="satm.protocols", expects=ClassIncremental
)
