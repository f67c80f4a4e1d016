"""What every job of the workflow needs: the registry, the device, the data root, and where progress goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from registry import Registry
from satm.loggers import Wanted, parse
from satm.machine.device import resolve_device
from satm.progress import SILENT, Progress
from satm.workflow.copies import separate_copy
from satm.workflow.patience import writable_registry


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """An open registry, and the machine that the work runs on."""

    store: Registry
    device: torch.device
    data_root: Path | None = None  # the only folder in which data sets are looked for; None: the usual places
    progress: Progress = SILENT
    log: tuple[Wanted, ...] = ()  # tools that evaluations are logged to


@contextmanager
def opened(
    registry: Path | str,
    *,
    device: str = "auto",
    data_root: Path | None = None,
    progress: Progress = SILENT,
    must_exist: bool = True,
    read_only: bool = False,
    log: Sequence[str] = (),
) -> Iterator[Workspace]:
    """A workspace with the registry file open. The file is closed at the end.

    A write waits as long as another process uses the file, and says so; it raises Interrupted if the user asks to stop.
    A copy of a registry that has worked here gets a UUID of its own. Raises ConfigError for a device that this machine
    lacks, RegistryError for a file that is missing or no registry, the errors of `satm.loggers.parse` for `log`.
    """
    wanted = parse(log)
    resolved = resolve_device(device)
    if read_only:
        store = Registry.open(registry, read_only=True)
    else:
        store = writable_registry(registry, progress, must_exist=must_exist)
    with store:
        if not read_only:
            separate_copy(store, progress)
        yield Workspace(store=store, device=resolved, data_root=data_root, progress=progress, log=wanted)
