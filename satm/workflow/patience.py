"""How long a command waits for a registry that another process uses: as long as it takes, until the user stops it.

Loads no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from registry import Registry
from satm.errors import Interrupted
from satm.progress import Progress

SAY_AFTER, STOP_AFTER = 2.0, 1.0  # seconds of a wait for the registry


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
