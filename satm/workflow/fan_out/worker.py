"""The code that runs in a worker process: one task. Its progress is sent to the process that started the worker."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType, TracebackType
from typing import Self

from satm.errors import Interrupted, spelled
from satm.machine.allocator import keep_freed_memory
from satm.workflow.fan_out.messages import Advanced, Began, Channel, Closed, Ended, Opened, Said
from satm.workflow.fan_out.task import Task, Work, attempt

SEND_SECONDS = 0.2  # the least time between two messages about the same progress bar
STOPPED = 130  # the exit code of a worker that was ended at once by a second signal


def carry_out(pickled: bytes, work: Work, channel: Channel, *, place: str = "") -> Ended:
    """Run a pickled task with the number of threads of `work`.

    The function returns how the task ended, and also sends it as the last message. `place` is the id of the Ray node,
    empty without Ray.
    """
    import torch

    torch.set_num_threads(work.threads or 1)
    keep_freed_memory()
    progress = SentProgress(channel)
    channel.send(Began(os.getpid(), socket.gethostname(), place))
    with _signals(progress):
        ended = _ended(pickled, replace(work, progress=progress))
    channel.send(ended)
    return ended


def _ended(pickled: bytes, work: Work) -> Ended:
    try:
        task: Task = pickle.loads(pickled)
    except Exception as error:  # for example if the module of the task is missing on this machine
        return Ended(f"the worker cannot read its task: {spelled(error)}")
    try:
        return Ended(attempt(task, work))
    except Interrupted as error:
        return Ended(str(error), stopped=True)


@contextmanager
def _signals(progress: SentProgress) -> Iterator[None]:
    """Handle SIGINT and SIGTERM during the `with` block.

    The first signal asks the task to stop at the next point at which its state can be saved. A second signal ends the
    worker at once.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        if progress.stopping():
            sys.exit(STOPPED)
        progress.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    if hasattr(signal, "pthread_sigmask"):  # SIGINT was blocked when this process was started (`local.py`)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class SentProgress:
    """A `Progress` that sends the bars and messages of a task over a channel."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._bars = 0
        self._stopping = False

    def bar(self, name: str, total: int, *, done: int = 0) -> SentBar:
        """Open a new bar."""
        self._bars += 1
        self.channel.send(Opened(self._bars, name, total, done))
        return SentBar(self.channel, self._bars)

    def say(self, message: str) -> None:
        """Send one line of text for the user."""
        self.channel.send(Said(message))

    def stopping(self) -> bool:
        """Return whether the task is asked to stop, by a signal or by the process that started this worker."""
        self._stopping = self._stopping or self.channel.stop_asked()
        return self._stopping

    def stop(self) -> None:
        """Ask the task to stop."""
        self._stopping = True


class SentBar:
    """A progress bar that sends its steps over a channel, a few times a second."""

    def __init__(self, channel: Channel, number: int) -> None:
        self._channel, self._number = channel, number
        self._waiting, self._facts = 0, dict[str, float | str]()
        self._sent = 0.0

    def advance(self, steps: int = 1, **facts: float | str) -> None:
        """Note that `steps` more units are done. `facts` are values to show beside the bar."""
        self._waiting += steps
        self._facts = facts
        if time.monotonic() - self._sent > SEND_SECONDS:
            self._send()

    def draw(self, values: Mapping[str, float]) -> None:
        """Do nothing: a terminal that shows several workers has no room for curves."""

    def _send(self) -> None:
        self._channel.send(Advanced(self._number, self._waiting, self._facts))
        self._waiting, self._sent = 0, time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._waiting:
            self._send()
        self._channel.send(Closed(self._number))
