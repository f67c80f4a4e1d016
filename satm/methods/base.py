"""What a condensation method is: a configuration, what it needs, and a running condensation that can be saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch

from satm.data import ImageData
from satm.errors import ConfigError
from satm.experts import ExpertConfig, Trajectory
from satm.names import Names
from satm.rng import Seed
from satm.types import Images, LabelKind, Labels


def _ignore(message: str) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be condensed, on what, from which seed."""

    data: ImageData
    ipc: int
    architecture: str
    seed: Seed
    device: torch.device
    experts: Sequence[Trajectory] = ()
    notify: Callable[[str], None] = _ignore  # hears what a user should know of how the work is done

    def __post_init__(self) -> None:
        check_ipc(self.data, self.ipc)


def check_ipc(data: ImageData, ipc: int) -> None:
    """Raise ConfigError unless every class has `ipc` training images."""
    smallest = int(torch.bincount(data.train.labels, minlength=len(data.classes)).min())
    if not 1 <= ipc <= smallest:
        raise ConfigError(
            f"ipc {ipc}: the smallest class of {data.name} has {smallest} training images; choose 1 to {smallest}"
        )


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a method may refuse before anything is trained."""

    method: str
    settings: Any  # the method's configuration
    architecture: str
    experts: ExpertConfig
    data: ImageData
    ipc: int


class Outcome(NamedTuple):
    """The outcome of a condensation, on the CPU."""

    images: Images  # [K·ipc, C, H, W] float32, class-major
    labels: Labels
    label_kind: LabelKind
    step_size: float | None
    siblings: Mapping[str, Outcome] = {}  # other sets of the same run, by name: stored as `METHOD-NAME`


class Condensation(Protocol):
    """A condensation under way.

    Every random draw of step s comes from a generator that the task's seed and s alone decide, so the tensors of
    `state` and the position are all that a checkpoint needs.
    """

    step: int  # outer steps done
    steps: int  # outer steps in all
    notes: Mapping[str, str]  # how it is computed, by name: said at the start and stored with the run

    def advance(self) -> Mapping[str, float]:
        """One outer step; what it measured, by name (events under `event.`). Raises Diverged, the state unchanged."""

    def state(self) -> dict[str, torch.Tensor]:
        """Everything that `restore` needs, the position included."""

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Continue from `state`, to the same bits."""

    def result(self) -> Outcome:
        """The set as it stands."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """An entry of `METHODS`."""

    name: str
    summary: str  # one line, with the paper
    config: type[Any]  # frozen dataclass
    expert_epochs: Callable[[Any], int | None]  # epochs an expert needs under a config; None: no experts
    begin: Callable[[Task, Any], Condensation]
    experts: Callable[[ExpertConfig], ExpertConfig] = lambda plain: plain  # how its experts are trained, from MTT's
    check: Callable[[Request], None] = lambda request: None  # raises ConfigError for what cannot work, before any work


METHODS: Names[Method] = Names("method", package="satm.methods", group="satm.methods", expects=Method)


def class_major_labels(classes: int, ipc: int) -> torch.Tensor:
    """[K·ipc] int64: ipc times 0, ipc times 1, …"""
    return torch.arange(classes).repeat_interleave(ipc)
