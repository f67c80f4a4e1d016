"""Detects that a registry file is a copy of another one, and gives the copy a UUID of its own.

The keys of saved states contain the UUID of the registry, so two files with the same UUID would share the saved states
of their runs. This module does not import torch.
"""

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

# A folder in SATM_HOME with one file for each UUID. The file is named by the UUID and holds the path of the registry
# that has this UUID.
FOLDER = "registries"
# A folder in SATM_HOME for the temporary registries of Ray workers. Each has the UUID of the user's registry for which
# the worker works, but is not treated as a copy of it.
SCRATCH = "ray"


def scratch_folder() -> Path:
    """Return the folder in which Ray workers keep their registries.

    It is in SATM_HOME. If SATM_HOME is on a network file system, the folder is in the temporary folder of this machine,
    because the locks of SQLite need a local disk.
    """
    if network_file_system(home()) is None:
        return home() / SCRATCH
    user = os.getuid() if hasattr(os, "getuid") else os.getlogin()  # on Windows there is no os.getuid
    return Path(tempfile.gettempdir()) / f"satm-{SCRATCH}-{user}"


def separate_copy(store: Registry, progress: Progress) -> None:
    """Give the registry a new UUID if it is a copy.

    It is a copy if another file with the same UUID was used with this SATM_HOME and still exists. A registry that was
    only moved keeps its UUID, because no registry with this UUID is left at the old path. With two UUIDs each file has
    saved states under keys of its own, so stopped runs can be continued in both files. Raises RegistryError if the file
    cannot be written.
    """
    here, uuid = store.path.resolve(), store.uuid
    other = _path_in(home() / FOLDER / uuid)
    if other == here or here.is_relative_to(scratch_folder().resolve()):
        return
    # If two commands start at the same time on the same copy, `separate` gives a new UUID in only one of them.
    if other is not None and _may_be(other, uuid) and not _same(other, here) and store.separate(uuid):
        progress.say(f"{store.path} is a copy of {other}: it now has an identity and saved states of its own")
    note = home() / FOLDER / store.uuid
    with suppress(SatmError):  # if SATM_HOME is read-only, no saved state can be written there either
        write_bytes(note, str(here).encode("utf-8", "surrogateescape"))


def gone() -> list[Path]:
    """Return those files in FOLDER whose registry is no longer at the path that the file holds."""
    return [note for note in sorted((home() / FOLDER).glob("*")) if note.is_file() and not _exists(_path_in(note))]


def _path_in(note: Path) -> Path | None:
    try:
        text = note.read_text(encoding="utf-8", errors="surrogateescape")
    except (OSError, ValueError):
        return None
    return Path(text) if text and "\0" not in text else None


def _same(one: Path, other: Path) -> bool:
    """Return whether both paths lead to the same file; False if one of the paths cannot be reached."""
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
    """Return whether there may be a registry with this UUID at `path`. True if the file exists but cannot be read."""
    if not _exists(path):
        return False
    try:
        with Registry.open(path, read_only=True) as store:
            return store.uuid == uuid
    except SatmError:
        return True
