"""What all methods that match expert trajectories have in common, for their entries in `METHODS`."""

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
    """Epochs of an expert: the last snapshot that a segment needs."""
    return settings.stored_epochs()


def _augmentation(traits: Traits) -> Mapping[str, Any]:
    """The inner loop augments as suits the data set."""
    return {"augment": traits.augment}


def _compilation(settings: TrajectoryConfig) -> Compilation:
    """The setting `compile` decides for inner steps and experts alike."""
    return settings.compile


def unrolled_variant(settings: UnrolledConfig) -> str:
    """`+sam` if SAM is not the default outer rule of the method."""
    return "" if settings.outer.rule == settings.own_outer().rule else f"+{settings.outer.rule}"


def _outer_work(settings: TrajectoryConfig, network: nn.Module, data: ImageData, ipc: int) -> OuterWork | None:
    """An outer step takes the inner steps of all its passes, each on a mini-batch of synthetic images."""
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

    Name, summary and configuration are enough. Its numbers come from rows of hyper-parameters, and `--outer` replaces
    its outer rule.
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
