"""`TrajectoryMethod`: the type of entry that a method has in the table `METHODS` if it matches expert trajectories."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from satm.data import ImageData
from satm.machine.compilation import Compilation
from satm.methods.base import Condensation, Method, OuterWork, Task, Traits
from satm.methods.trajectory.condensation import TrajectoryCondensation
from satm.methods.trajectory.config import TrajectoryConfig
from satm.methods.trajectory.unrolled import UnrolledConfig


def _expert_epochs(settings: TrajectoryConfig) -> int | None:
    """The number of epochs that an expert needs: the epoch of the last parameters that a segment can use."""
    return settings.stored_epochs()


def _augmentation(traits: Traits) -> Mapping[str, Any]:
    """The setting `augment`: the inner loop uses the augmentation that suits the data set."""
    return {"augment": traits.augment}


def _compilation(settings: TrajectoryConfig) -> Compilation:
    """Whether the training of the experts is compiled: as the setting `compile` says, which is also for inner steps."""
    return settings.compile


def unrolled_variant(settings: UnrolledConfig) -> str:
    """The suffix after the method's name in the name of a set, given the settings.

    It is empty if the outer rule is the method's default, and otherwise `+` and the name of the outer rule, for example
    `+sam`.
    """
    return "" if settings.outer.rule == settings.own_outer().rule else f"+{settings.outer.rule}"


def _outer_work(settings: TrajectoryConfig, network: nn.Module, data: ImageData, ipc: int) -> OuterWork | None:
    """The work of the outer steps, from which their time is estimated; see `Method.outer_work`.

    An outer step consists of the inner steps of all its passes. Each inner step uses a mini-batch of synthetic images.
    """
    choice, work = settings.choose_engine(network, data.image_shape, ipc * len(data.classes))
    return OuterWork(
        steps=settings.outer_steps,
        batch=work.batch,
        seconds=lambda step: choice.seconds(step, work),
        reach=min(1.0, work.window * work.batch / (ipc * len(data.classes))),
    )


@dataclass(frozen=True, kw_only=True)
class TrajectoryMethod(Method):
    """A method whose `config` is a subclass of `TrajectoryConfig`.

    An entry only has to give the name, the summary and the configuration. The numbers of the method come from rows of
    published hyper-parameters (satm/presets). The option `--outer` replaces the method's outer rule.
    """

    config: type[TrajectoryConfig]
    begin: Callable[[Task, Any], Condensation] = TrajectoryCondensation
    expert_epochs: Callable[[Any], int | None] = _expert_epochs
    compilation: Callable[[Any], Compilation] = _compilation
    variant: Callable[[Any], str] = unrolled_variant
    matches_trajectories: bool = True
    unrolls: bool = True
    decodes: bool = True
    data_settings: Callable[[Traits], Mapping[str, Any]] = _augmentation
    outer_work: Callable[[Any, nn.Module, ImageData, int], OuterWork | None] = _outer_work
