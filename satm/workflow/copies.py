"""Notices a copy of a registry: two files with one UUID would share the saved states of their runs. Loads no torch."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from registry import Registry
from satm.errors import RegistryError, SatmError
from satm.home import home, write_atomically

FOLDER = "registries"  # in SATM_HOME: a file for each UUID, with the path of the registry that works with it


def check_alone(store: Registry) -> None:
    """Raise RegistryError if another file with the UUID of this registry has worked with the saved states here.

    A file that was moved is no copy: the other path then holds no such registry.
    """
    note, here = home() / FOLDER / store.uuid, store.path.resolve()
    other = _path_in(note)
    if other == here:
        return
    if other is not None and _uuid_of(other) == store.uuid and not other.samefile(here):
        raise RegistryError(
            f"{store.path} and {other} have one identity, as a file and its copy have, so they would share the saved "
            f"states of their runs; satm registry separate --registry {store.path} gives this one its own"
        )
    with suppress(SatmError):  # a SATM_HOME that may only be read holds no new state either
        write_atomically(note, lambda made: _write(made, here))


def _write(note: Path, path: Path) -> None:
    note.write_text(str(path), encoding="utf-8", errors="surrogateescape")


def gone() -> list[Path]:
    """The notes of registries that are no longer at their path."""
    return [note for note in sorted((home() / FOLDER).glob("*")) if note.is_file() and not _exists(_path_in(note))]


def _path_in(note: Path) -> Path | None:
    try:
        text = note.read_text(encoding="utf-8", errors="surrogateescape")
    except (OSError, ValueError):
        return None
    return Path(text) if text and "\0" not in text else None


def _exists(path: Path | None) -> bool:
    try:
        return path is not None and path.exists()
    except OSError:
        return True


def _uuid_of(path: Path) -> str | None:
    try:
        with Registry.open(path, read_only=True) as store:
            return store.uuid
    except SatmError:
        return None
