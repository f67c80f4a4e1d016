"""One class-incremental stream through one protocol: the loop that every protocol shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch

from protocols.base import ClassIncremental, LabelledExamples, State, StreamContext
from protocols.networks import Networks
from protocols.quiet import avalanche_stream
from protocols.result import IncrementalResult, StepResult, judge
from protocols.stored import Stored
from satm.errors import ConfigError, DataError, Interrupted
from satm.progress import SILENT, Progress
from satm.rng import Seed
from satm.synthetic import SyntheticSet


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What an interrupted call left: the steps it judged, and its learner's state after the last of them."""

    steps: tuple[StepResult, ...] = ()
    state: Mapping[str, torch.Tensor] | None = None  # None where there is none (any more)


def run(
    protocol: ClassIncremental,
    config: Any,
    *,
    memory: SyntheticSet | None,
    train: LabelledExamples,
    test: LabelledExamples,
    groups: Sequence[Sequence[int]],
    networks: Networks,
    seed: Seed,
    earlier: Earlier | None = None,
    on_step: Callable[[StepResult, State], None] | None = None,
    progress: Progress = SILENT,
) -> IncrementalResult:
    """Run a class-incremental stream of `groups` on Avalanche and judge the network after every step.

    At step k the memory's images of its classes arrive, and for the protocols that learn from the stream the images of
    `train` too. The network has a head over all classes and is judged on the test images of every step: no class is
    masked, and `seen` counts the classes that have arrived. An image of the memory belongs to the class of its
    `hard_labels`; its target may be soft. How the memory was made is the caller's: one set split along the class order,
    or each step's classes condensed on their own, as DM's experiment does (field notes §3.1).

    Args:
        memory: None for a protocol that keeps none.
        earlier: of an interrupted call with the same arguments. The result is the same as without the interruption;
            where a learner needs a state and there is none, the stream starts over.
        on_step: called after each step that was judged; may store it with the learner's state.

    Raises ConfigError when `groups` do not hold every class once, when a memory is missing or not wanted, or when
    `earlier` does not fit; DataError when a step brings no image or has no test images; Interrupted when `progress`
    asks to stop.
    """
    _check(protocol, memory, groups, networks.num_classes)
    test_classes = test.labels.cpu()
    if len(test) and not 0 <= int(test_classes.min()) <= int(test_classes.max()) < networks.num_classes:
        raise DataError(
            f"test labels reach from {int(test_classes.min())} to {int(test_classes.max())}; "
            f"the networks have {networks.num_classes} classes, so take the test images of the same data set"
        )
    _sizes(test_classes, groups, "there is no test image of its classes")
    stream = avalanche_stream()
    arriving: tuple[Any, ...] = ()
    if memory is not None:
        memory_classes = memory.hard_labels.cpu()
        _sizes(memory_classes, groups, "the memory holds no image of its classes")
        for label in sorted(set(range(len(memory.classes))) - set(memory_classes.tolist())):
            progress.say(
                f"the memory holds no image of class '{memory.classes[label]}'; its test images count all the same"
            )
        # Soft targets are computed once here: a set of logits would pass all its rows through a softmax at every read.
        images = Stored(memory.images, memory.targets)
        arriving = tuple(stream.split(images, memory_classes, groups))
    if protocol.reads == "memory":
        assert memory is not None
        benchmark = stream.class_incremental(images, memory_classes, test, test_classes, groups)
    else:
        train_classes = train.labels.cpu()
        _sizes(train_classes, groups, "there is no training image of its classes")
        soft = memory is not None and memory.label_kind != "hard" and protocol.one_hot
        benchmark = stream.class_incremental(
            train, train_classes, test, test_classes, groups, one_hot=networks.num_classes if soft else None
        )
    places = stream.places(benchmark.test_stream)

    context = StreamContext(networks=networks, seed=seed, arriving=arriving)
    learner = protocol.begin(context, config)
    there = _usable(protocol, earlier or Earlier(), len(groups), list(accumulate(map(len, arriving))))
    if there and protocol.builds_on:
        learner.restore((earlier or Earlier()).state or {})

    def judged(network: Any, step: int) -> StepResult:
        logits = networks.logits(network, test)
        return judge(logits, test_classes, places, groups, step=step, memory_size=learner.held)

    untrained = judged(context.start, 0).accuracies
    with progress.bar("class-incremental", len(groups), done=len(there)) as bar:
        for step, experience in enumerate(benchmark.train_stream):
            if step in there:
                learner.skip(experience)
                continue
            if progress.stopping():
                raise Interrupted(
                    f"stopped after step {step} of {len(groups)}; the same command again goes on from there"
                )
            # Avalanche's data loaders draw from the global stream.
            with seed.child("avalanche", step).forked():
                network = learner.learn(experience)
            if network is not None:
                there[step] = judged(network, step)
                if on_step is not None:
                    on_step(there[step], learner.state())
                bar.advance(accuracy=there[step].seen)
            else:
                bar.advance()
    return IncrementalResult(
        steps=tuple(tuple(group) for group in groups),
        judged=tuple(there[step] for step in sorted(there)),
        untrained=untrained,
    )


def _check(
    protocol: ClassIncremental, memory: SyntheticSet | None, groups: Sequence[Sequence[int]], num_classes: int
) -> None:
    order = [label for group in groups for label in group]
    if sorted(order) != list(range(num_classes)):
        raise ConfigError(
            f"steps of classes {[list(group) for group in groups]}: expected each of 0 to {num_classes - 1} once"
        )
    if protocol.memory != (memory is not None):
        raise ConfigError(
            f"protocol {protocol.name} needs a memory; give it one"
            if protocol.memory
            else f"protocol {protocol.name} keeps no memory; leave it out"
        )
    if memory is not None and len(memory.classes) != num_classes:
        raise DataError(f"a memory of {len(memory.classes)} classes for networks of {num_classes}; take another set")


def _sizes(classes: torch.Tensor, groups: Sequence[Sequence[int]], complaint: str) -> None:
    for step, group in enumerate(groups):
        if not torch.isin(classes, torch.tensor(group)).any():
            raise DataError(f"step {step + 1} of {len(groups)}, classes {list(group)}: {complaint}; take fewer steps")


def _usable(
    protocol: ClassIncremental, earlier: Earlier, count: int, memory_sizes: Sequence[int]
) -> dict[int, StepResult]:
    """The earlier steps by number, none where the learner cannot go on from them."""
    found = [result.step for result in earlier.steps]
    fitting = all(
        len(result.accuracies) == count
        and (not memory_sizes or (result.step < count and result.memory_size == memory_sizes[result.step]))
        for result in earlier.steps
    )
    wanted = [*range(count)] if protocol.judged == "every step" else [count - 1]
    if not fitting or found != wanted[: len(found)]:
        raise ConfigError(f"the {len(found)} steps done earlier do not begin this stream of {count}; leave them out")
    if protocol.builds_on and earlier.state is None:
        return {}
    return {result.step: result for result in earlier.steps}
