"""The kind of `METHODS` entry for methods that match gradients or features directly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from satm.data import ImageData
from satm.methods.base import Method, OuterWork
from satm.methods.direct.condensation import DirectConfig


def _outer_work(settings: DirectConfig, network: nn.Module, data: ImageData, ipc: int) -> OuterWork | None:
    """Return the work. The estimate: an outer step takes as long as `images_a_step` images in usual training steps.

    Such a training step has 256 images, or all training images if there are fewer. If the real images are clustered,
    all of them pass the network forwards, so each costs about a third. The time of k-means is left out.
    """
    images, batch = settings.images_a_step(len(data.classes), ipc), min(256, len(data.train))
    images += settings.clusterings_a_step * len(data.train) / 3
    return OuterWork(steps=settings.steps, batch=batch, seconds=lambda step: images * step / batch)


def _within(settings: DirectConfig, images: int, classes: int, ipc: int) -> DirectConfig:
    """Return the settings with no more outer steps than `images` images allow, but at least one."""
    return settings.at_most(max(1, int(images / settings.images_a_step(classes, ipc))))


@dataclass(frozen=True, kw_only=True)
class DirectMethod(Method):
    """A method with settings that are a subclass of `DirectConfig`.

    By default it needs no experts. Its images are never whitened.
    """

    config: type[DirectConfig]
    expert_count: int | None = 1
    whitening: bool = False
    decodes: bool = True
    outer_work: Callable[[Any, nn.Module, ImageData, int], OuterWork | None] = _outer_work
    within: Callable[[Any, int, int, int], Any] = _within
