"""The code that runs on a Ray cluster: the tasks, and the board through which they send messages."""

from __future__ import annotations

import os
import pickle
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from satm.errors import Busy, spelled
from satm.workflow.fan_out.messages import Ended, Message
from satm.workflow.fan_out.origin import Origin
from satm.workflow.fan_out.scratch import Returned, as_bytes, held, prepare, remove, scratch_path
from satm.workflow.fan_out.task import Work
from satm.workflow.fan_out.worker import carry_out

ASK_SECONDS = 1.0  # the time between two requests in which a worker asks the board whether it should stop


class Board:
    """A Ray actor that keeps the messages of all workers until they are read, and the request to stop.

    Workers add messages. The process that started the work takes them, and asks the workers to stop.
    """

    def __init__(self) -> None:
        self._messages: list[tuple[int, Message]] = []
        self._stop = False

    def add(self, task: int, messages: list[Message]) -> bool:
        """Add messages of the task with the number `task`. Returns whether all workers are asked to stop."""
        self._messages += [(task, message) for message in messages]
        return self._stop

    def take(self) -> list[tuple[int, Message]]:
        """Return the messages that were added since the last call, each with the number of its task."""
        taken, self._messages = self._messages, []
        return taken

    def ask_to_stop(self) -> None:
        """Ask all workers to stop."""
        self._stop = True


class BoardChannel:
    """The channel of a worker: it sends messages to the board, and asks the board whether to stop."""

    def __init__(self, board: Any, task: int) -> None:
        self._board, self._task = board, task
        self._answer: Any = None  # Ray's handle of an answer that has not come yet; None if no answer is awaited
        self._asked, self._stop = 0.0, False  # the time of the last request, and whether the worker is asked to stop

    def send(self, message: Message) -> None:
        """Send a message without waiting for the board."""
        self._send([message])

    def stop_asked(self) -> bool:
        """Return whether the worker is asked to stop. The board is asked at most once a second."""
        import ray

        if not self._stop and self._answer is not None and ray.wait([self._answer], timeout=0)[0]:
            self._stop, self._answer = ray.get(self._answer), None
        if not self._stop and self._answer is None and time.monotonic() - self._asked > ASK_SECONDS:
            self._send([])
        return self._stop

    def _send(self, messages: list[Message]) -> None:
        answer = self._board.add.remote(self._task, messages)
        if self._answer is None:
            self._answer, self._asked = answer, time.monotonic()


def remote_task(
    pickled: bytes, number: int, work: Work, base: bytes, registry: str, board: Any, origin: Origin
) -> Returned:
    """Run a pickled task on a scratch registry, and return how it ended and what it made.

    Args:
        pickled: the task.
        number: the number of the task in the fan-out.
        work: what the task works with; its registry is replaced by the scratch registry.
        base: the bytes of a copy of the user's registry.
        registry: the UUID of the user's registry.
        board: receives the messages of the task.
        origin: the process that started the work.
    """
    import ray

    origin.adopt()
    context = ray.get_runtime_context()
    # Ray's settings can forbid Ray to hide the GPUs of other tasks from this task. So they are hidden here in any case.
    if gpus := context.get_accelerator_ids().get("GPU"):
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    scratch = scratch_path(registry, pickle.loads(pickled))
    channel = BoardChannel(board, number)
    try:
        with held(scratch):
            prepare(scratch, base)
            ended = carry_out(pickled, replace(work, registry=scratch), channel, place=context.get_node_id())
            return Returned(ended, scratch, None if origin.is_here else as_bytes(scratch))
    except Busy as busy:
        return Returned(Ended(str(busy)), scratch, b"")
    except Exception as error:  # for example if the disk of this host is full
        return Returned(Ended(spelled(error)), scratch, None if origin.is_here and scratch.exists() else b"")


def remove_scratch(path: Path) -> None:
    """Remove the scratch registry of a task that is done. This runs on the host on which the file is."""
    remove(path)
