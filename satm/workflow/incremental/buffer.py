"""A condensed memory for Avalanche's own strategies."""

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
    """An Avalanche `ExemplarsBuffer` whose images are given: no draw is made and none is chosen.

    After experience k of an Avalanche stream (`experience.current_experience`) it adds the images of the classes in
    `groups[k]`. Use it wherever Avalanche takes a storage policy: `ReplayPlugin(mem_size=buffer.max_size,
    storage_policy=buffer)`, or `strategy.storage_policy = buffer` for ER_ACE and its like. Images are in the space of
    the set, so the stream's must be too: pass them through `SyntheticSet.transform`. A strategy that reads the groups
    of Avalanche's own buffers (MIR) or keeps logits (DER) needs a buffer of its own kind.

    Args:
        images: a synthetic set, or images [n, C, H, W] and their classes [n] int64.
        groups: the classes of each experience, with the numbers that the images have.
        size: M, the stored images held from the start, shared by the classes that have arrived; None: all that arrived.
        hard_labels: take the likeliest class of soft labels. Otherwise soft targets are vectors [K], which cannot share
            a batch with a stream of classes.

    Raises ConfigError if `groups` repeat a class, miss one of the images' classes, or have a step without an image, and
    for a `size` below one image a class.
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
