"""The scratch registry of a task on a Ray worker, and its merge into the user's registry.

Each task on a Ray cluster writes to its own temporary registry on its host. When the task has ended, the process that
started the work merges this scratch registry into the user's registry.
"""

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
    """Return the path of the scratch registry of a task on this host.

    The same task always has the same path, so a task that is started again finds what it has done before. Different
    tasks have different paths, even if they have the same name. `registry` is the UUID of the user's registry.
    """
    return scratch_folder() / f"{registry[:8]}-{digest([registry, type(task).__qualname__, repr(task)])[:16]}.db"


@contextmanager
def held(scratch: Path) -> Iterator[None]:
    """Hold the lock of a scratch registry. Raises Busy if another command runs the same task on this host."""
    lock = scratch.with_suffix(".lock")
    try:
        with held_now(lock, remove=True):
            yield
    except Timeout:
        raise Busy("another command does the same task; wait for it, then give this one again", str(lock)) from None


def prepare(scratch: Path, base: bytes) -> None:
    """Copy the contents of `base`, the bytes of the user's registry, into the scratch registry.

    The task then finds all work that is already done. If the scratch registry exists, its own contents stay. A copy has
    the UUID of its original, so a run has the same key and the same saved state in both.
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
    """Return the bytes of a copy of the registry file, as it is at this moment."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.db"
        with Registry.open(registry) as store:
            store.backup(copy)
        return copy.read_bytes()


def remove(scratch: Path) -> None:
    """Remove a scratch registry and the files that SQLite keeps beside it, unless another command uses it now."""
    with suppress(Busy), held(scratch):
        for file in scratch.parent.glob(f"{scratch.name}*"):
            file.unlink(missing_ok=True)


def _check_ours(folder: Path) -> None:
    """Make the folder private to this user.

    Raises SatmError if the folder belongs to another user, who could change its files.
    """
    if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
        raise SatmError(f"{folder} belongs to another user; remove it, or set TMPDIR to a folder of yours")
    folder.chmod(0o700)


@dataclass(frozen=True)
class Returned:
    """The return value of a Ray worker."""

    ended: Ended  # how the task ended
    path: Path  # the path of the scratch registry on the worker's host
    # The bytes of the scratch registry; empty if there is nothing to merge. None if the worker ran on the same host as
    # the process that started the work: that process then reads the file at `path`.
    content: bytes | None


def take(returned: Returned, registry: Path) -> None:
    """Merge the scratch registry of a Ray worker into `registry`. Raises RegistryError or SatmError if that fails."""
    with Registry.open(registry, timeout=None) as store:
        if returned.content is None:
            store.merge(returned.path)
            return
        with tempfile.TemporaryDirectory(dir=registry.parent) as folder:
            copy = Path(folder) / "scratch.db"
            copy.write_bytes(returned.content)
            store.merge(copy)
