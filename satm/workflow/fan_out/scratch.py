"""The registry that one task writes on a Ray worker, and its way into the registry of the process that started it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from registry import Registry
from satm.canonical import digest
from satm.home import home, make_folder, write_bytes
from satm.workflow.fan_out.messages import Ended

FOLDER = "ray"  # of SATM_HOME


def scratch_path(registry: str, task: str) -> Path:
    """Where the scratch registry of a task lies on this host: the same place whenever it runs. `registry` is a UUID."""
    return home() / FOLDER / f"{registry[:8]}-{digest([registry, task])[:16]}.db"


def prepare(scratch: Path, base: bytes) -> None:
    """Make the scratch registry a copy of `base`, so that it knows all that is done. What it holds already stays.

    A copy has the UUID of its original, so a run has the same key and the same saved state in both.
    """
    make_folder(scratch.parent)
    if not scratch.exists():
        write_bytes(scratch, base)
        return
    with tempfile.TemporaryDirectory(dir=scratch.parent) as folder:
        copy = Path(folder) / "base.db"
        copy.write_bytes(base)
        with Registry.open(scratch) as store:
            store.merge(copy)


def as_bytes(registry: Path) -> bytes:
    """A copy of a registry at one moment."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.db"
        with Registry.open(registry) as store:
            store.backup(copy)
        return copy.read_bytes()


def remove(scratch: Path) -> None:
    """Remove a scratch registry, with the files that SQLite keeps beside it."""
    for file in scratch.parent.glob(f"{scratch.name}*"):
        file.unlink(missing_ok=True)


@dataclass(frozen=True)
class Returned:
    """What a Ray worker gives back."""

    ended: Ended
    path: Path  # of the scratch registry on its host
    content: bytes | None  # of the scratch registry; None: it lies on the host of the process that started the work


def take(returned: Returned, registry: Path) -> None:
    """Merge what a Ray worker gave back into `registry`. Raises RegistryError or SatmError if that fails."""
    with Registry.open(registry, timeout=None) as store:
        if returned.content is None:
            store.merge(returned.path)
            return
        with tempfile.TemporaryDirectory(dir=registry.parent) as folder:
            copy = Path(folder) / "scratch.db"
            copy.write_bytes(returned.content)
            store.merge(copy)
