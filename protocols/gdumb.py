"""Class-incremental learning with GDumb whose memory is a condensed set (Prabhu et al. 2020; field notes §3.1)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from itertools import accumulate
from types import ModuleType
from typing import Protocol

import numpy as np
import torch
from torch import nn

from protocols.result import IncrementalResult, StepResult
from protocols.stored import Stored
from satm.errors import ConfigError, DataError, Interrupted
from satm.progress import NoProgress, Progress
from satm.rng import Seed
from satm.synthetic import SyntheticSet
from satm.types import Examples


class LabelledExamples(Examples, Protocol):
    """Examples whose classes are known without reading the images: a split of real data."""

    @property
    def labels(self) -> torch.Tensor:
        """[n] int64."""


def gdumb(
    memory: SyntheticSet,
    test: LabelledExamples,
    *,
    groups: Sequence[Sequence[int]],
    train: Callable[[Examples, Seed], nn.Module],
    seed: Seed,
    learning_rate: float | None = None,
    done: Sequence[StepResult] = (),
    on_step: Callable[[StepResult], None] | None = None,
    progress: Progress | None = None,
) -> IncrementalResult:
    """Run a class-incremental stream of `groups` on Avalanche and measure the memory after every step.

    At step k the images of its classes enter the memory, `train(stored, seed.child("step", k))` gives a network
    trained from scratch on all that is stored, with a head over all classes, and that network is judged on the test
    images of every step: no class is masked, and `seen` counts the classes that have arrived. An image belongs to the
    class of its `hard_labels`; its target may be soft. One set is split along the class order here: condensing each
    step's classes apart, as DM's experiment does, is up to the maker of the memory (field notes §3.1).

    Args:
        learning_rate: what `train` uses, only recorded.
        done: the first steps of an earlier, interrupted call. Steps do not depend on one another, so the result is the
            same as without the interruption.
        on_step: called after each new step; may store it.

    Raises ConfigError when `groups` do not hold every class once or `done` is not the beginning of this stream,
    DataError when a step brings no image or has no test images, and Interrupted between steps when `progress` asks to
    stop.
    """
    progress = progress or NoProgress()
    _check_groups(groups, len(memory.classes))
    memory_classes, test_classes = memory.hard_labels.cpu(), test.labels.cpu()
    memory_sizes = _sizes(memory_classes, groups, "the memory holds no image of its classes")
    if len(test) and not 0 <= int(test_classes.min()) <= int(test_classes.max()) < len(memory.classes):
        raise DataError(
            f"test labels reach from {int(test_classes.min())} to {int(test_classes.max())}; "
            f"the memory was made for {len(memory.classes)} classes, so take the test images of its own data set"
        )
    test_sizes = _sizes(test_classes, groups, "there is no test image of its classes")
    _check_done(done, len(groups), list(accumulate(memory_sizes)))
    for label in sorted(set(range(len(memory.classes))) - set(memory_classes.tolist())):
        progress.say(
            f"the memory holds no image of class '{memory.classes[label]}'; its test images count all the same"
        )

    results = list(done)
    stream, strategy = _avalanche()
    # Soft targets are computed once here: a set of logits would pass all its rows through a softmax at every read.
    images = Stored(memory.images, memory.targets)
    benchmark = stream.class_incremental(images, memory_classes, test, test_classes, groups)
    learner = strategy.CondensedGDumb(
        memory_size=len(memory),
        train_fresh=lambda step, stored: train(stored, seed.child("step", step)),
    )
    with progress.task("class-incremental", len(groups), done=len(results)) as bar:
        for step, experience in enumerate(benchmark.train_stream):
            if step < len(results):
                learner.store(experience)
                continue
            if progress.stopping():
                raise Interrupted(
                    f"stopped after step {step} of {len(groups)}; the same command again goes on from there"
                )
            # Avalanche's data loaders draw from the global stream.
            with seed.child("avalanche", step).forked():
                learner.train(experience, eval_streams=[], pin_memory=False)
                accuracies = learner.accuracies(benchmark.test_stream)
            result = StepResult(
                step=step,
                accuracies=accuracies,
                seen=float(np.average(accuracies[: step + 1], weights=test_sizes[: step + 1])),
                memory_size=len(learner.memory.buffer),
            )
            results.append(result)
            if on_step is not None:
                on_step(result)
            bar.advance(accuracy=result.seen)
    return IncrementalResult(
        steps=tuple(tuple(group) for group in groups),
        matrix=tuple(result.accuracies for result in results),
        seen=tuple(result.seen for result in results),
        memory_sizes=tuple(result.memory_size for result in results),
        learning_rate=learning_rate,
    )


def _check_groups(groups: Sequence[Sequence[int]], num_classes: int) -> None:
    order = [label for group in groups for label in group]
    if sorted(order) != list(range(num_classes)):
        raise ConfigError(
            f"steps of classes {[list(group) for group in groups]}: expected each of 0 to {num_classes - 1} once"
        )


def _sizes(classes: torch.Tensor, groups: Sequence[Sequence[int]], complaint: str) -> list[int]:
    sizes = [int(torch.isin(classes, torch.tensor(group)).sum()) for group in groups]
    for step, (group, size) in enumerate(zip(groups, sizes, strict=True)):
        if size == 0:
            raise DataError(f"step {step + 1} of {len(groups)}, classes {list(group)}: {complaint}; take fewer steps")
    return sizes


def _check_done(done: Sequence[StepResult], count: int, memory_sizes: Sequence[int]) -> None:
    found = [(result.step, len(result.accuracies), result.memory_size) for result in done]
    if found != [(step, count, size) for step, size in enumerate(memory_sizes)][: len(found)]:
        raise ConfigError(f"the {len(found)} steps done earlier do not begin this stream of {count}; leave them out")


def _avalanche() -> tuple[ModuleType, ModuleType]:
    """The two modules that import Avalanche (some ten seconds), quietly and without touching NumPy's global stream."""
    state = np.random.get_state()  # noqa: NPY002 - a dependency of Avalanche's draws from it when imported
    try:
        with warnings.catch_warnings():
            # Deprecations among Avalanche's own dependencies, which no user of ours can mend.
            warnings.simplefilter("ignore")
            from protocols import strategy, stream
    finally:
        np.random.set_state(state)  # noqa: NPY002
    return stream, strategy
