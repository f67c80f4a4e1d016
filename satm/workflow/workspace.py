"""What every job of the workflow works with: the registry, the device, where data are, and where progress goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from registry import Registry
from satm.machine.device import resolve_device
from satm.progress import SILENT, Progress


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """An open registry and the machine."""

    store: Registry
    device: torch.device
    data_root: Path | None = None  # look for data sets here only; null: where they usually are
    progress: Progress = SILENT


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
    """A workspace on the registry file, which is closed afterwards.

    Raises ConfigError for a device that is not here, RegistryError for a file that is no registry or is missing.
    """
    where = resolve_device(device)
    with Registry.open(registry, must_exist=must_exist, read_only=read_only) as store:
        yield Workspace(store=store, device=where, data_root=data_root, progress=progress)
