"""The registry that one task writes on a Ray worker, and its way into the registry of the process that started it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import Timeout

from registry import Registry
from satm.canonical import digest
from satm.errors import Busy, SatmError
from satm.home import held_now, make_folder, write_bytes
from satm.workflow.copies import scratch_folder
from satm.workflow.fan_out.messages import Ended
from satm.workflow.fan_out.task import Task


def scratch_path(registry: str, task: Task) -> Path:
    """Where the scratch registry of a task lies on this host: the same place whenever it runs. `registry` is a UUID.

    Tasks of two commands have different places, even if they have one name, unless they are equal.
    """
    return scratch_folder() / f"{registry[:8]}-{digest([registry, type(task).__qualname__, repr(task)])[:16]}.db"


@contextmanager
def held(scratch: Path) -> Iterator[None]:
    """Hold the lock of a scratch registry. Raises Busy if another command does the same task on this host."""
    lock = scratch.with_suffix(".lock")
    try:
        with held_now(lock, remove=True):
            yield
    except Timeout:
        raise Busy("another command does the same task; wait for it, then give this one again", str(lock)) from None


def prepare(scratch: Path, base: bytes) -> None:
    """Make the scratch registry a copy of `base`, so that it knows all that is done. What it holds already stays.

    A copy has the UUID of its original, so a run has the same key and the same saved state in both.
    """
    make_folder(scratch.parent)
    _check_ours(scratch.parent)
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
    """Remove a scratch registry, with the files that SQLite keeps beside it, unless another command uses it now."""
    with suppress(Busy), held(scratch):
        for file in scratch.parent.glob(f"{scratch.name}*"):
            file.unlink(missing_ok=True)


def _check_ours(folder: Path) -> None:
    """Make the folder private. Raises SatmError if it is another user's, who could change what lies in it."""
    if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
        raise SatmError(f"{folder} belongs to another user; remove it, or set TMPDIR to a folder of yours")
    folder.chmod(0o700)


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
