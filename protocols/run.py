"""Runs one class-incremental stream with one protocol. All protocols share this loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import nn

from protocols.base import Learner, State
from protocols.buffer import held
from protocols.job import Part, StreamJob
from protocols.quiet import avalanche_stream
from protocols.result import IncrementalResult, StepResult, judge
from satm.errors import ConfigError, Interrupted
from satm.examples import TensorExamples
from satm.progress import SILENT, Progress
from satm.types import Examples


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What an interrupted call of `run` has already done."""

    steps: tuple[StepResult, ...] = ()  # the results of the steps that the call judged
    # The learner's state after the last of these steps; None if no state was saved, or if it is lost.
    state: Mapping[str, torch.Tensor] | None = None


def run(
    job: StreamJob,
    *,
    earlier: Earlier | None = None,
    on_step: Callable[[StepResult, State], None] | None = None,
    progress: Progress = SILENT,
) -> IncrementalResult:
    """Run the stream of `job` on Avalanche, and judge the network after every step in which the protocol trains one.

    The memory consists of the images of `job.memory`. At each step, the images of this step arrive in the memory
    (`StreamJob.places`). An online protocol makes its memory (`job.keeping`) itself. If the protocol learns from real
    images, it also gets the real training images of the step. From the first step on, the network has an output for
    every class of the data set. It is judged on the test images of all steps; `StepResult.seen` is its accuracy on the
    steps that have arrived. A network that diverges gets the accuracies of a guess (see `judge`).

    Args:
        earlier: the steps that an interrupted call for the same job has done. The result is the same as without the
            interruption. If the protocol needs the learner's state (`builds_on`) and `earlier` has none, the stream
            starts over.
        on_step: called after each judged step with the step's result and the learner's state, so that the caller can
            store both. The state is {} if no step of the protocol builds on the step before.

    Raises ConfigError if `earlier` does not fit the job, and Interrupted if `progress` asks to stop.
    """
    for name in job.absent:
        progress.say(f"the memory holds no image of class '{name}'; its test images count all the same")
    stream = avalanche_stream()
    benchmark, arriving = _streams(job, stream)
    context = job.context(arriving)
    learner = job.protocol.begin(context, job.config)
    judge_after = _Judge(job, learner, stream.places(benchmark.test_stream))
    done = _resumed(job, learner, earlier or Earlier(), _memory_sizes(job))
    untrained = judge_after(0, context.start, progress)
    with progress.bar("class-incremental", len(job.groups), done=len(done)) as bar:
        for step, experience in enumerate(benchmark.train_stream):
            if step in done:
                learner.skip(experience)
                continue
            if progress.stopping():
                raise Interrupted(
                    f"stopped after step {step} of {len(job.groups)}; the same command again continues from there"
                )
            # Avalanche's data loaders draw from torch's global random stream. `forked` seeds it for this block.
            with job.seed.child("avalanche", step).forked():
                network = learner.learn(experience)
            if network is None:
                bar.advance()
                continue
            _check_held(job, learner)
            done[step] = judge_after(step, network, progress)
            if on_step is not None:
                on_step(done[step], learner.state() if job.protocol.builds_on else {})
            bar.advance(accuracy=done[step].seen)
    return IncrementalResult(
        steps=job.groups,
        judged=tuple(done[step] for step in sorted(done)),
        untrained=untrained.accuracies,
        masked_untrained=untrained.masked_accuracies,
        fresh=not job.protocol.builds_on,
    )


@dataclass(frozen=True)
class _Judge:
    """Judges networks on the test images of a job."""

    job: StreamJob
    learner: Learner
    places: Sequence[torch.Tensor]  # for each step, the positions [m] of its test images

    def __call__(self, step: int, network: nn.Module, progress: Progress) -> StepResult:
        """Return the accuracies of `network` after `step`. If the network diverged, `progress` gets a message."""
        job = self.job
        logits = job.networks.logits(network, job.test)
        size = self.learner.held // job.each
        found = judge(logits, job.test_classes, self.places, job.groups, step=step, memory_size=size)
        if found.diverged:
            progress.say(f"the network of step {step + 1} diverged; it counts as a guess, {found.seen:.1%}")
        return found


def _streams(job: StreamJob, stream: ModuleType) -> tuple[Any, tuple[Any, ...]]:
    """Return the Avalanche benchmark of a job, and for each step the data set that arrives in the memory.

    The second value is () if the job has no memory.
    """

    def parts(examples: Examples, part: Part, one_hot: int | None = None) -> list[Any]:
        found: list[Any] = stream.parts(examples, job.classes_of(part), job.places(part), one_hot=one_hot)
        return found

    arriving: tuple[Any, ...] = ()
    if job.memory is not None:
        # Read `targets` only once: if the labels of the memory are logits, each access applies softmax to all of them.
        seen = job.memory.decoded
        images = TensorExamples(seen.images, seen.targets)
        arriving = tuple(parts(images, "memory"))
    if job.protocol.reads == "memory":
        return stream.incremental(parts(images, "memory"), parts(job.test, "test")), arriving
    soft = job.memory is not None and job.memory.label_kind != "hard" and job.protocol.one_hot
    real = parts(job.train, "train", one_hot=job.num_classes if soft else None)
    return stream.incremental(real, parts(job.test, "test")), arriving


def _memory_sizes(job: StreamJob) -> list[int]:
    """Return the number of stored images that the memory holds after each step; [] if the job has no memory."""
    if job.memory is None:
        return []
    arriving = [job.memory_classes[positions] for positions in job.places("memory")]
    return [len(positions) // job.each for positions in held(arriving, job.buffer, job.each)]


def _check_held(job: StreamJob, learner: Learner) -> None:
    """Raise ConfigError if the learner keeps more images than the buffer may hold.

    Our own protocols respect the buffer, but a protocol of another package may not.
    """
    kept = learner.held // job.each
    if job.buffer is not None and kept > job.buffer:
        raise ConfigError(
            f"protocol {job.protocol.name} keeps {kept} images in a buffer of {job.buffer}; it does not know "
            "fixed buffers, so leave --buffer out"
        )


def _resumed(job: StreamJob, learner: Learner, earlier: Earlier, memory_sizes: Sequence[int]) -> dict[int, StepResult]:
    """Restore the learner's state and return the earlier results by step number.

    Returns {} if the protocol needs the learner's state (`builds_on`) and `earlier` has none. Raises ConfigError if the
    earlier steps are not the first judged steps of this stream.
    """
    count = len(job.groups)
    found = [result.step for result in earlier.steps]
    fitting = all(
        len(result.accuracies) == count
        and (not memory_sizes or (result.step < count and result.memory_size == memory_sizes[result.step]))
        for result in earlier.steps
    )
    wanted = [*range(count)] if job.protocol.judged == "every step" else [count - 1]
    if not fitting or found != wanted[: len(found)]:
        raise ConfigError(f"the {len(found)} steps done earlier do not begin this stream of {count}; leave them out")
    if job.protocol.builds_on:
        if earlier.state is None:
            return {}
        if earlier.steps:
            learner.restore(earlier.state)
    return {result.step: result for result in earlier.steps}
