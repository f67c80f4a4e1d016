"""`RealLossMethod`: the entry in the table `METHODS` of a method that computes its outer loss on real images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from satm.data import ImageData
from satm.machine.compilation import Compilation
from satm.methods.base import Condensation, Method, OuterWork, Request, Task
from satm.methods.checks import check_inner_loop
from satm.methods.real.condensation import RealLossCondensation
from satm.methods.real.config import RealLossConfig
from satm.methods.trajectory.method import unrolled_variant


def _outer_work(settings: RealLossConfig, network: nn.Module, data: ImageData, ipc: int) -> OuterWork | None:
    """Return the work. The estimate: an outer step takes as long as `images_a_step` images in usual training steps.

    Such a training step has 256 images, or all training images if there are fewer.
    """
    images, batch = settings.images_a_step(ipc * len(data.classes)), min(256, len(data.train))
    return OuterWork(steps=settings.outer_steps, batch=batch, seconds=lambda step: images * step / batch)


def _within(settings: RealLossConfig, images: int, classes: int, ipc: int) -> RealLossConfig:
    """Return the settings with no more outer steps than `images` images allow, but at least one."""
    return settings.at_most(max(1, int(images / settings.images_a_step(classes * ipc))))


def _compilation(settings: RealLossConfig) -> Compilation:
    return settings.compile


@dataclass(frozen=True, kw_only=True)
class RealLossMethod(Method):
    """A method whose `config` is a subclass of `RealLossConfig`.

    It needs no experts. The option `--outer` replaces its outer rule.
    """

    config: type[RealLossConfig]
    begin: Callable[[Task, Any], Condensation] = RealLossCondensation
    check: Callable[[Request], None] = check_inner_loop
    unrolls: bool = True
    decodes: bool = True
    recipe: str = "dm"
    compilation: Callable[[Any], Compilation] = _compilation
    variant: Callable[[Any], str] = unrolled_variant
    outer_work: Callable[[Any, nn.Module, ImageData, int], OuterWork | None] = _outer_work
    within: Callable[[Any, int, int, int], Any] = _within
