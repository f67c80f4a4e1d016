"""Notices a copy of a registry: two files with one UUID would share the saved states of their runs. Loads no torch."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from registry import Registry
from registry.location import network_file_system
from satm.errors import SatmError
from satm.home import home, write_bytes
from satm.progress import Progress

FOLDER = "registries"  # in SATM_HOME: a file for each UUID, with the path of the registry that works with it
SCRATCH = "ray"  # in SATM_HOME: registries of Ray workers, whose runs are those of the registry that started the work


def scratch_folder() -> Path:
    """Where Ray workers keep their registries: in SATM_HOME, or on a disk of this machine if machines share that.

    SQLite's locks need a disk of this machine.
    """
    if network_file_system(home()) is None:
        return home() / SCRATCH
    user = os.getuid() if hasattr(os, "getuid") else os.getlogin()  # Windows has no numbers of users
    return Path(tempfile.gettempdir()) / f"satm-{SCRATCH}-{user}"


def separate_copy(store: Registry, progress: Progress) -> None:
    """Give the registry a UUID of its own if another file with the same one has worked with the saved states here.

    Stopped runs go on in both files: each then has the saved states under keys of its own. A file that was moved is no
    copy: the other path then holds no such registry. Raises RegistryError if the file cannot be written.
    """
    here, uuid = store.path.resolve(), store.uuid
    other = _path_in(home() / FOLDER / uuid)
    if other == here or here.is_relative_to(scratch_folder().resolve()):
        return
    # Of two commands that start together on one copy, one separates it.
    if other is not None and _may_be(other, uuid) and not _same(other, here) and store.separate(uuid):
        progress.say(f"{store.path} is a copy of {other}: it now has an identity and saved states of its own")
    note = home() / FOLDER / store.uuid
    with suppress(SatmError):  # a SATM_HOME that may only be read holds no new state either
        write_bytes(note, str(here).encode("utf-8", "surrogateescape"))


def gone() -> list[Path]:
    """The notes of registries that are no longer at their path."""
    return [note for note in sorted((home() / FOLDER).glob("*")) if note.is_file() and not _exists(_path_in(note))]


def _path_in(note: Path) -> Path | None:
    try:
        text = note.read_text(encoding="utf-8", errors="surrogateescape")
    except (OSError, ValueError):
        return None
    return Path(text) if text and "\0" not in text else None


def _same(one: Path, other: Path) -> bool:
    """Whether both paths lead to one file. One that cannot be reached is another file."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def _exists(path: Path | None) -> bool:
    try:
        return path is not None and path.exists()
    except OSError:
        return True


def _may_be(path: Path, uuid: str) -> bool:
    """Whether a registry with this UUID may lie at `path`. One that cannot be read may be it."""
    if not _exists(path):
        return False
    try:
        with Registry.open(path, read_only=True) as store:
            return store.uuid == uuid
    except SatmError:
        return True
