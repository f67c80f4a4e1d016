"""What every job of the workflow needs: the registry, the device, the data root, and where progress goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from registry import Registry
from satm.errors import Interrupted
from satm.machine.device import resolve_device
from satm.progress import SILENT, Progress


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """An open registry, and the machine that the work runs on."""

    store: Registry
    device: torch.device
    data_root: Path | None = None  # the only folder in which data sets are looked for; None: the usual places
    progress: Progress = SILENT


SAY_AFTER, STOP_AFTER = 2.0, 1.0  # seconds of a wait for the registry


def waiting(path: Path | str, progress: Progress) -> Callable[[float], None]:
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


@contextmanager
def opened(
    registry: Path | str,
    *,
    device: str = "auto",
    data_root: Path | None = None,
    progress: Progress = SILENT,
    must_exist: bool = True,
    read_only: bool = False,
) -> Iterator[Workspace]:
    """A workspace with the registry file open. The file is closed at the end.

    A write waits as long as another process uses the file, and says so; it raises Interrupted if the user asks to stop.
    Raises ConfigError for a device that this machine lacks, RegistryError for a file that is missing or no registry.
    """
    resolved = resolve_device(device)
    patience = waiting(registry, progress)
    with Registry.open(registry, must_exist=must_exist, read_only=read_only, timeout=None, waiting=patience) as store:
        yield Workspace(store=store, device=resolved, data_root=data_root, progress=progress)
