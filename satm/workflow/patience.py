"""How a command waits for another process: without a time limit, until the other process is ready or the user stops.

This module does not import torch, so that it loads fast.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from registry import Registry
from satm.errors import Busy, Interrupted
from satm.home import held_now
from satm.progress import Progress

T = TypeVar("T")

# Seconds of a wait for the registry: after SAY_AFTER a message says that the command waits; after STOP_AFTER the
# command stops if the user asked it to stop.
SAY_AFTER, STOP_AFTER = 2.0, 1.0
LOOK_SECONDS = 0.5  # seconds between two checks whether another process has ended its work


def writable_registry(path: Path | str, progress: Progress, *, must_exist: bool = True) -> Registry:
    """Open the registry file at `path` for writing.

    If another process uses the file, this function waits until the file is free, and so does each later write to the
    returned registry. During a wait a message says so, and Interrupted is raised if the user asks to stop. Raises
    RegistryError for a file that is missing (if `must_exist`), that cannot be written, or that is not a registry.
    """
    return Registry.open(path, must_exist=must_exist, timeout=None, waiting=_waiting(path, progress))


def _waiting(path: Path | str, progress: Progress) -> Callable[[float], None]:
    """The function that `Registry.open` calls repeatedly while it waits, with the seconds that it has waited so far.

    It tells the user once that another process uses the file. It raises Interrupted if the user asks to stop.
    """
    before = 0.0

    def wait(seconds: float) -> None:
        nonlocal before
        if before < SAY_AFTER <= seconds:
            progress.say(f"{path} is in use by another process; waiting for it")
        before = seconds
        if seconds > STOP_AFTER and progress.stopping():
            raise Interrupted(
                f"stopped while another process used {path}; the same command continues from what is saved"
            )

    return wait


def when_free(work: Callable[[], T], what: str, progress: Progress) -> T:
    """Call `work` and return its result. If another process is doing the same work, wait for that process first.

    `work` raises Busy in that case. After the wait it is called again, and then finds the result that the other process
    stored. `what` names the thing that is made, for messages to the user.

    Raises Interrupted if the user asks to stop during the wait, and the other errors of `work`.
    """
    while True:
        try:
            return work()
        except Busy as busy:
            progress.say(f"{what} is being made by another process; waiting for it")
            _wait_for(Path(busy.lock), what, progress)


def _wait_for(lock: Path, what: str, progress: Progress) -> None:
    from filelock import Timeout

    while True:
        try:
            with held_now(lock):
                return
        except Timeout:
            if progress.stopping():
                raise Interrupted(f"stopped while another process made {what}; the same command continues") from None
            time.sleep(LOOK_SECONDS)
