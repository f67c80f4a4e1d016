"""Runs tasks in several worker processes on this machine."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from registry.provenance import usable_cores
from satm.errors import ConfigError
from satm.progress import SILENT
from satm.workflow.fan_out.gpus import visible_gpus
from satm.workflow.fan_out.messages import Began, Ended, Message
from satm.workflow.fan_out.shown import Shown
from satm.workflow.fan_out.task import Outcome, Task, Work, died_too_often, spell_threads, starts_again, stopped
from satm.workflow.fan_out.worker import STOPPED, carry_out

LOOK_SECONDS = 0.2  # the time between two checks whether the user has asked to stop


@dataclass(frozen=True)
class LocalWorkers:
    """The place that runs each task in a new process on this machine, `count` processes at the same time.

    All processes write to the same registry. Unless `Work.threads` is given, each process gets an equal share of the
    CPU cores. If there are several GPUs, each process gets one of them; with more processes than GPUs, some share one.
    Raises ConfigError if `count` is below 1.
    """

    count: int  # the number of processes that run at the same time
    gpus: Callable[[str], Sequence[str]] = visible_gpus  # finds the GPUs for a device setting; tests replace it

    @property
    def is_here(self) -> bool:
        """True: every process runs on this machine."""
        return True

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError(f"{self.count} workers: expected at least 1")

    def run(
        self, tasks: Sequence[Task], work: Work, *, retries: int, on_end: Callable[[Outcome], None]
    ) -> list[Outcome]:
        """Run the tasks and return their outcomes in the order of `tasks`. Raises Interrupted if the user asks to stop.

        If the process of a task dies, a new one is started, at most `retries` times for each task.
        """
        count = min(self.count, len(tasks))
        threads = work.threads or max(1, usable_cores() // count)
        gpus = tuple(self.gpus(work.device))
        shared = f", one of {len(gpus)} GPUs each" if len(gpus) > 1 else ""
        work.progress.say(f"{count} worker process{'' if count == 1 else 'es'}, {spell_threads(threads)} each{shared}")
        running = _Running(
            work=replace(work, threads=threads), gpus=gpus if len(gpus) > 1 else (), retries=retries, on_end=on_end
        )
        running.waiting.extend(_Waiting(index, task) for index, task in enumerate(tasks))
        with running.ended_at_the_end():
            running.until_done(count)
        return [running.outcomes[index] for index in range(len(tasks))]


@dataclass
class _Waiting:
    """A task that waits for a process: it has not begun, or its process died."""

    index: int  # the position of the task in the list of all tasks
    task: Task
    deaths: int = 0  # how many times its process has died


@dataclass
class _Worker:
    """A worker: a process that runs one task."""

    waiting: _Waiting  # the task
    process: BaseProcess
    connection: Connection  # this process's end of the pipe to the worker
    shown: Shown  # what the user sees of the worker
    slot: int  # the lowest number that no other running worker has; it chooses the GPU
    began: bool = False  # whether the worker has sent that it began
    ended: Ended | None = None  # the message that the task has ended; None until it comes

    def read(self) -> bool:
        """Read the messages that have arrived. Returns False if the worker has closed its end of the pipe."""
        with suppress(EOFError, OSError):
            while self.connection.poll():
                message: Message = self.connection.recv()
                if isinstance(message, Ended):
                    self.ended = message
                self.began = self.began or isinstance(message, Began)
                self.shown.see(message)
            return True
        return False


@dataclass
class _Running:
    """The state of one call of `LocalWorkers.run`: the tasks that wait, that run and that have ended."""

    work: Work
    gpus: Sequence[str]  # the GPUs that the workers share; empty if there are fewer than two
    retries: int
    on_end: Callable[[Outcome], None]
    waiting: deque[_Waiting] = field(default_factory=deque)
    workers: list[_Worker] = field(default_factory=list)
    outcomes: dict[int, Outcome] = field(default_factory=dict)  # by the position of the task

    def until_done(self, count: int) -> None:
        """Run up to `count` workers at the same time until all tasks have ended.

        Raises Interrupted if the user asks to stop, after the running workers have ended.
        """
        total, stopping = len(self.waiting), False
        while self.workers or (self.waiting and not stopping):
            if not stopping and self.work.progress.stopping():
                stopping = True
                for worker in self.workers:
                    with suppress(OSError):  # the worker may just have ended by itself
                        worker.connection.send("stop")
            while self.waiting and len(self.workers) < count and not stopping:
                self.workers.append(self._start(self.waiting.popleft()))
            ready = wait([each.connection for each in self.workers], timeout=LOOK_SECONDS)
            for worker in [each for each in self.workers if each.connection in ready]:
                if not worker.read():
                    self._end(worker, stopping=stopping)
        if stopping:
            raise stopped(self.outcomes.values(), total)

    def _start(self, waiting: _Waiting) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        slot = min(set(range(len(self.workers) + 1)) - {each.slot for each in self.workers})
        gpu = self.gpus[slot % len(self.gpus)] if self.gpus else None
        process = context.Process(
            target=_work,
            args=(pickle.dumps(waiting.task), replace(self.work, progress=SILENT), gpu, theirs),
            name=waiting.task.name,
        )
        with _interrupts_held_back():
            process.start()
        theirs.close()  # only the worker has that end open now, so reading fails as soon as the worker has ended
        return _Worker(
            waiting=waiting,
            process=process,
            connection=ours,
            shown=Shown(waiting.task.name, self.work.progress),
            slot=slot,
        )

    def _end(self, worker: _Worker, *, stopping: bool) -> None:
        """Handle a worker that has closed its connection: store the outcome of its task, or start the task again."""
        worker.process.join()
        worker.connection.close()
        worker.shown.close()
        self.workers.remove(worker)
        waiting, code = worker.waiting, worker.process.exitcode
        if worker.ended is not None:
            if not (worker.ended.stopped and stopping):
                self._take(waiting, worker.ended.error)
            return
        waiting.deaths += 1
        if stopping:
            return
        if not worker.began:
            self._take(waiting, f"its process ended before it began ({_spell_exit(code)})")
        elif code == STOPPED:
            self._take(waiting, "stopped at once; the same command continues from its last saved state")
        elif waiting.deaths > self.retries:
            self._take(waiting, died_too_often(waiting.deaths, _spell_exit(code)))
        else:
            self.work.progress.say(f"{waiting.task.name}: {starts_again(_spell_exit(code))}")
            self.waiting.appendleft(waiting)

    def _take(self, waiting: _Waiting, error: str | None) -> None:
        outcome = Outcome(task=waiting.task, error=error, deaths=waiting.deaths)
        self.outcomes[waiting.index] = outcome
        self.on_end(outcome)

    @contextmanager
    def ended_at_the_end(self) -> Iterator[None]:
        """Kill the workers that still run at the end of the `with` block.

        There are such workers only if an error or a second Ctrl-C has ended the block early.
        """
        try:
            yield
        finally:
            for worker in self.workers:
                worker.process.kill()
                worker.process.join()
                worker.shown.close()


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Block SIGINT during the `with` block.

    A process that is started in the `with` block begins with SIGINT blocked. So a Ctrl-C does not reach it before it is
    ready to handle it; then the process unblocks SIGINT itself.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _spell_exit(code: int | None) -> str:
    if code is not None and code < 0:
        with suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"


class _Pipe:
    """The worker's end of the pipe to the process that started it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._asked = False

    def send(self, message: Message) -> None:
        """Send a message to the process that started this worker."""
        self._connection.send(message)

    def stop_asked(self) -> bool:
        """Return whether the worker was asked to stop.

        Nothing but the request to stop is ever sent to a worker. So the worker was asked if anything has arrived.
        """
        self._asked = self._asked or self._connection.poll()
        return self._asked


def _work(pickled: bytes, work: Work, gpu: str | None, connection: Connection) -> None:
    """Run one pickled task: the main function of a worker process."""
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # this must be set before CUDA is used for the first time
    threading.Thread(target=_end_with_parent, daemon=True).start()
    carry_out(pickled, work, _Pipe(connection))


def _end_with_parent() -> None:
    # Runs in a thread of the worker: if the process that started the worker ends, the worker must end too.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
