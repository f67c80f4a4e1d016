"""Finds and removes files in `SATM_HOME` that nothing needs any more.

These are saved states of finished runs, locks that no process holds, files that a crash left half written, and notes
about registries that are gone.
"""

from __future__ import annotations

import shutil
import time
from collections import defaultdict
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from registry import Registry
from registry.identity import is_of
from satm.errors import SatmError
from satm.home import held_now, home, is_stale
from satm.workflow.copies import gone, scratch_folder

FOLDERS = (
    "runs",
    "experts",
    "teachers",
    "zca",
    "data",
    "registries",
    "ray",
    "downloads",
)  # the folders in SATM_HOME that satm makes; nothing else in SATM_HOME is touched
DAY = 86400.0  # seconds


@dataclass(frozen=True, kw_only=True)
class Garbage:
    """A file that can be removed."""

    path: Path
    why: str  # the reason, shown to the user
    bytes: int  # the size


@dataclass(frozen=True, kw_only=True)
class Found:
    """The result of `collect_garbage`."""

    garbage: tuple[Garbage, ...]  # the files that were removed; with `dry_run` the files that could be removed
    others: int  # the number of files of runs that this registry does not know; they are not removed
    scratch: int  # the number of registries of Ray workers that are not removed, because their work may be needed
    refused: tuple[Path, ...]  # files that this user has no permission to remove, for example a colleague's


def lock_of(key: str) -> Path:
    """Return the lock file of the saved state of the run with this key."""
    return home() / "runs" / f"{key}.lock"


def run_files(key: str) -> list[Path]:
    """Return the files of the saved state of the run with this key, except its lock and unfinished files."""
    return [file for file in (home() / "runs").glob(f"{key}.*") if file.suffix not in (".lock", ".tmp")]


def collect_garbage(store: Registry, *, older_than: float | None = None, dry_run: bool = False) -> Found:
    """Remove the files in `SATM_HOME` that nothing needs; with `dry_run` only find them.

    These are saved states of runs that are finished in this registry, locks that no process holds, files that a crash
    left half written, and notes about registries that are gone.

    Saved states of runs that this registry does not know stay, because another registry may need them. With
    `older_than` (days), such a state is removed if it was not written to for that long. A state that a process uses is
    never removed. The same holds for a registry that a Ray worker has left behind: it may hold work that was not merged
    yet. Files that this user has no permission to remove stay too: in a shared `SATM_HOME` they may belong to
    a colleague.
    """
    states, others = _states(store, older_than)
    left_behind, scratch = _scratch(older_than)
    removal = _Removal(dry_run=dry_run)
    for each in states:
        lock = lock_of(each.path.name.split(".")[0])
        # The lock is held during the removal, so that no process starts from the state that is removed.
        removal.remove(each, lock=lock, and_lock=not lock.exists())
    for each in left_behind:
        removal.remove(each, lock=each.path.with_name(each.path.name.split(".")[0] + ".lock"), and_lock=True)
    for each in _unfinished():
        removal.remove(each)
    for file in (file for folder in FOLDERS for file in _files(home() / folder, "**/*.lock")):
        removal.remove(_garbage(file, "a lock that nobody holds"), lock=file)
    return Found(garbage=tuple(removal.removed), others=others, scratch=scratch, refused=tuple(removal.refused))


class _Removal:
    """Removes files, or with `dry_run` only finds out which files can be removed."""

    def __init__(self, *, dry_run: bool) -> None:
        self.removed: list[Garbage] = []
        self.refused: list[Path] = []
        self._dry_run = dry_run

    def remove(self, garbage: Garbage, *, lock: Path | None = None, and_lock: bool = False) -> None:
        """Remove the file `garbage` while `lock` is held. If another process holds the lock, nothing is removed.

        With `and_lock` the lock file is removed too.
        """
        from filelock import Timeout

        try:
            with nullcontext() if lock is None else held_now(lock, remove=and_lock):
                if not self._dry_run:
                    _delete(garbage.path)
        except Timeout:
            return
        except (OSError, SatmError):
            self.refused.append(garbage.path)
        else:
            self.removed.append(garbage)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _states(store: Registry, older_than: float | None) -> tuple[list[Garbage], int]:
    """Return the files of saved states that nothing needs, and the number of files that belong to unknown runs."""
    runs = store.runs()
    needed = {run.key for run in runs if run.status != "done"}
    # A run from a copy or a merge can have a key with the UUID of another registry. That other registry may still need
    # the state.
    done = {run.key for run in runs if is_of(run.key, store.uuid)} - needed
    garbage, others = [], 0
    for file in _files(home() / "runs"):
        key = file.name.split(".")[0]
        if file.suffix in (".lock", ".tmp") or key in needed:
            continue
        old = older_than is not None and time.time() - file.stat().st_mtime > older_than * DAY
        if key not in done and not old:
            others += 1
            continue
        why = "its run is done" if key in done else f"of no run of this registry, older than {older_than:g} days"
        garbage.append(_garbage(file, why))
    return garbage, others


def _scratch(older_than: float | None) -> tuple[list[Garbage], int]:
    """Return the files of the registries of Ray workers that are older than `older_than` days.

    The second value is the number of the other registries of Ray workers. A worker's registry is removed when its task
    has ended, so one is left only if the command that started the task was killed, or if the task goes on.
    """
    registries: dict[str, list[Path]] = defaultdict(list)
    for file in _files(scratch_folder(), "*.db*"):  # a registry, and the files that SQLite keeps beside it
        registries[file.name.split(".")[0]].append(file)
    garbage, others = [], 0
    for files in registries.values():
        if older_than is None or time.time() - max(file.stat().st_mtime for file in files) <= older_than * DAY:
            others += 1
            continue
        garbage += [_garbage(file, f"of a Ray task, older than {older_than:g} days") for file in files]
    return garbage, others


def _unfinished() -> list[Garbage]:
    """Return what nothing needs apart from saved states and locks.

    These are notes about registries that are gone (`satm/workflow/copies.py`), and files or folders that a process was
    writing when it was killed.
    """
    found = [_garbage(note, "its registry is gone") for note in gone()]
    for place in (place for folder in FOLDERS for place in sorted((home() / folder).glob("**/*.tmp"))):
        with suppress(FileNotFoundError):  # raised if another process has just removed the file
            if is_stale(place):
                found.append(_garbage(place, "left over from a crash"))
    return found


def _files(folder: Path, pattern: str = "*") -> list[Path]:
    return sorted(file for file in folder.glob(pattern) if file.is_file())


def _garbage(file: Path, why: str) -> Garbage:
    files = [each for each in file.glob("**/*") if each.is_file()] if file.is_dir() else [file]
    return Garbage(path=file, why=why, bytes=sum(each.stat().st_size for each in files))
