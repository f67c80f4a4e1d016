"""The workspace of a job, such as an evaluation: the registry, the device, the data root, and the progress messages."""

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
    """An open registry, with the device and the folders that a job works with."""

    store: Registry
    device: torch.device
    data_root: Path | None = None  # the only folder in which data sets are searched; None: the usual folders
    progress: Progress = SILENT
    log: tuple[Wanted, ...] = ()  # the loggers, such as TensorBoard, that also receive the metrics of evaluations


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
    """Context manager: a workspace with the registry file open. The file is closed at the end of the block.

    While another process writes to the file, a write of this process waits, and a message says so. If the user asks
    to stop during a wait, Interrupted is raised. If the file is a copy of a registry that was used on this machine, the
    copy gets a new UUID (`separate_copy`), unless `read_only` is set.

    Raises ConfigError for a device that this machine does not have, RegistryError for a file that is missing (if
    `must_exist`) or is not a registry, and the errors of `satm.loggers.parse` for `log`.
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
