"""How long a command waits for another process: as long as it takes, until the user stops it.

Loads no torch.
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

SAY_AFTER, STOP_AFTER = 2.0, 1.0  # seconds of a wait for the registry
LOOK_SECONDS = 0.5  # between two looks at whether another process has ended its work


def writable_registry(path: Path | str, progress: Progress, *, must_exist: bool = True) -> Registry:
    """The registry file at `path`, opened to be written.

    To open it and to write wait as long as another process uses the file, and say so; they raise Interrupted if the
    user asks to stop. Raises RegistryError for a file that is missing, cannot be written or is no registry.
    """
    return Registry.open(path, must_exist=must_exist, timeout=None, waiting=_waiting(path, progress))


def _waiting(path: Path | str, progress: Progress) -> Callable[[float], None]:
    """For `Registry.open`: says once that a write waits for another process, and gives up if the user asks to stop."""
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
    """The result of `work`. If another process does the same, wait for it and try again: its result is found then.

    Raises Interrupted if the user asks to stop while it waits, and what `work` raises.
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
