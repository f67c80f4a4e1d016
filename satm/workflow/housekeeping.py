"""Files in `SATM_HOME` that nothing needs any more: states of runs that are done, locks and unfinished files."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from registry import Registry
from registry.identity import is_of
from satm.errors import SatmError
from satm.home import held_now, home
from satm.workflow.copies import gone

FOLDERS = ("runs", "experts", "teachers", "zca", "data")  # of `SATM_HOME`: all else in there is not ours
UNFINISHED_SECONDS = 3600.0  # a `.tmp` file that nobody has written to for so long is left over from a crash
DAY = 86400.0


@dataclass(frozen=True, kw_only=True)
class Garbage:
    """A file that can be removed."""

    path: Path
    why: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Found:
    """What `collect_garbage` found."""

    garbage: tuple[Garbage, ...]
    others: int  # saved states of runs that this registry does not know, which stay


def lock_of(key: str) -> Path:
    """The lock of the saved state of a run."""
    return home() / "runs" / f"{key}.lock"


def run_files(key: str) -> list[Path]:
    """The files of the saved state of a run, except its lock."""
    return [file for file in (home() / "runs").glob(f"{key}.*") if file.suffix not in (".lock", ".tmp")]


def collect_garbage(store: Registry, *, older_than: float | None = None, dry_run: bool = False) -> Found:
    """Remove the files in `SATM_HOME` that nothing needs; with `dry_run` only find them.

    These are saved states of runs that are done in this registry, locks that no process holds, and files that a crash
    left half written. Saved states of runs that this registry does not know stay: a copy of the registry may know them.
    With `older_than`, those that nobody has written to for so many days are removed. A state in use always stays.
    """
    states, others = _states(store, older_than, dry_run=dry_run)
    unfinished = _unfinished()
    if not dry_run:
        for each in unfinished:
            if each.path.is_dir():
                shutil.rmtree(each.path, ignore_errors=True)
            else:
                each.path.unlink(missing_ok=True)
    return Found(garbage=(*states, *unfinished, *_free_locks(dry_run=dry_run)), others=others)


def _states(store: Registry, older_than: float | None, *, dry_run: bool) -> tuple[list[Garbage], int]:
    """Remove saved states that nothing needs; also the number of those of runs that this registry does not know."""
    from filelock import Timeout

    runs = store.runs()
    needed = {run.key for run in runs if run.status != "done"}
    # A state with the UUID of another registry, which was copied or merged, may be needed there.
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
        lock = lock_of(key)
        # Held, so that no process starts with the state that is removed.
        with suppress(Timeout), held_now(lock, remove=not lock.exists()):
            garbage.append(_garbage(file, why))
            if not dry_run:
                file.unlink(missing_ok=True)
    return garbage, others


def _unfinished() -> list[Garbage]:
    """Notes of registries that are gone, and what a killed write leaves: a folder with the file, or the file alone."""
    return [_garbage(note, "its registry is gone") for note in gone()] + [
        _garbage(place, "left over from a crash")
        for folder in FOLDERS
        for place in sorted((home() / folder).glob("**/*.safetensors.*.tmp"))
        if time.time() - place.stat().st_mtime > UNFINISHED_SECONDS
    ]


def _free_locks(*, dry_run: bool) -> Iterator[Garbage]:
    """The locks that no process holds."""
    from filelock import Timeout

    for file in (each for folder in FOLDERS for each in _files(home() / folder, "**/*.lock")):
        with suppress(Timeout, SatmError), held_now(file, remove=not dry_run):
            yield _garbage(file, "a lock that nobody holds")


def _files(folder: Path, pattern: str = "*") -> list[Path]:
    return sorted(file for file in folder.glob(pattern) if file.is_file())


def _garbage(file: Path, why: str) -> Garbage:
    files = [each for each in file.glob("**/*") if each.is_file()] if file.is_dir() else [file]
    return Garbage(path=file, why=why, bytes=sum(each.stat().st_size for each in files))
