"""What runs on a Ray cluster: the tasks, and the board that carries their messages."""

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

ASK_SECONDS = 1.0  # between two questions to the board


class Board:
    """A Ray actor: workers leave their messages here, and learn if they are asked to stop."""

    def __init__(self) -> None:
        self._messages: list[tuple[int, Message]] = []
        self._stop = False

    def add(self, task: int, messages: list[Message]) -> bool:
        """Leave messages of a task. Returns whether all workers are asked to stop."""
        self._messages += [(task, message) for message in messages]
        return self._stop

    def take(self) -> list[tuple[int, Message]]:
        """The messages since the last call."""
        taken, self._messages = self._messages, []
        return taken

    def ask_to_stop(self) -> None:
        """Ask all workers to stop."""
        self._stop = True


class BoardChannel:
    """A worker's way to the board."""

    def __init__(self, board: Any, task: int) -> None:
        self._board, self._task = board, task
        self._answer: Any = None  # the last answer that the board owes
        self._asked, self._stop = 0.0, False

    def send(self, message: Message) -> None:
        """Send a message. It does not wait for the board."""
        self._send([message])

    def stop_asked(self) -> bool:
        """Whether the board has said so. It is asked once a second."""
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
    """Run a task on a scratch registry. `registry` is the UUID of the registry that `base` is a copy of."""
    import ray

    origin.adopt()
    context = ray.get_runtime_context()
    if gpus := context.get_accelerator_ids().get("GPU"):  # Ray hides the others only if nothing tells it not to
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
    except Exception as error:  # the disk of this host may be full
        return Returned(Ended(spelled(error)), scratch, None if origin.is_here and scratch.exists() else b"")


def remove_scratch(path: Path) -> None:
    """Remove the scratch registry of a task that is done, on the host where it lies."""
    remove(path)
