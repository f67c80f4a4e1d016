"""Gives a condensed set to the strategies of Avalanche, a library for continual learning, as their memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from protocols.buffer import check_buffer
from protocols.quiet import avalanche_stream
from satm.errors import ConfigError
from satm.examples import TensorExamples
from satm.synthetic import SyntheticSet
from satm.types import Images


def avalanche_buffer(
    images: SyntheticSet | tuple[Images, torch.Tensor],
    groups: Sequence[Sequence[int]],
    *,
    size: int | None = None,
    hard_labels: bool = False,
) -> Any:
    """Return an Avalanche `ExemplarsBuffer` that holds the given images. It never draws or chooses images itself.

    After experience k of an Avalanche stream (`experience.current_experience`) the buffer adds the images of the
    classes in `groups[k]`. It can be used wherever Avalanche takes a storage policy:
    `ReplayPlugin(mem_size=buffer.max_size, storage_policy=buffer)`, or `strategy.storage_policy = buffer` for ER_ACE
    and similar strategies. The images are in the space of the set, so the images of the stream must be in the same
    space: pass them through `SyntheticSet.transform`. Two kinds of strategies cannot use this buffer: those that read
    the groups of Avalanche's own buffers (MIR), and those that store logits in the buffer (DER).

    Args:
        images: a synthetic set, or images [n, C, H, W] and their classes [n] int64.
        groups: the classes of each experience, numbered as in the labels of the images.
        size: M, the number of stored images in the buffer from the start, shared by the classes that have arrived.
            None: the buffer holds the images of all classes that have arrived.
        hard_labels: replace soft labels by their most probable class. Otherwise a soft label is a vector [K] over the K
            classes, which cannot be in one batch with the class numbers of the stream.

    Raises ConfigError if `groups` contain a class twice, if a class of the images is in no group, if a group has no
    image, or if `size` is less than one image for each class.
    """
    each = 1
    if isinstance(images, SyntheticSet):
        each, seen = images.parametrisation.each, images.decoded
        classes = seen.hard_labels
        examples = TensorExamples(seen.images, classes if hard_labels else seen.targets)
    else:
        classes = images[1]
        examples = TensorExamples(*images)
    _check_groups(classes, groups)
    if size is not None:
        check_buffer(size, len(classes.unique()))
    stream = avalanche_stream()
    from protocols.memory import GivenMemory

    return GivenMemory(stream.split(examples, classes.cpu(), groups), size, each)


def _check_groups(classes: torch.Tensor, groups: Sequence[Sequence[int]]) -> None:
    held, named = set(classes.tolist()), [label for group in groups for label in group]
    repeated = [label for label in named if named.count(label) > 1]
    if repeated:
        raise ConfigError(f"groups: class {repeated[0]} is there twice; name every class once")
    missing = sorted(held - set(named))
    if missing:
        raise ConfigError(f"groups: class {missing[0]} of the images is in no group; name every class")
    empty = [list(group) for group in groups if not held & set(group)]
    if empty:
        raise ConfigError(f"groups: there is no image of {empty[0]}; take another set, or fewer groups")
