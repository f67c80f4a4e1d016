"""`SATM_HOME`, the folder of files that can be rebuilt: locks, and writing a file completely or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from satm.errors import Interrupted, SatmError
from satm.progress import Progress


def home() -> Path:
    """The folder of expert trajectories, ZCA transforms and checkpoints: `SATM_HOME`, else the user's data folder."""
    named = os.environ.get("SATM_HOME")
    if named:
        return Path(named).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("satm"))


def make_folder(path: Path) -> None:
    """Make the folder `path` and its parents; raises SatmError if that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SatmError(f"cannot make folder {path}: {error.strerror}; set SATM_HOME to a folder of yours") from error


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Call `write` on a temporary file beside `path`, then move it into place.

    A reader sees either the old file or the complete new one. A crash leaves at most a `.tmp` file. Raises SatmError
    if the folder cannot be written or the disk is full.
    """
    from safetensors import SafetensorError

    make_folder(path.parent)
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=path.name + ".", suffix=".tmp", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise SatmError(f"cannot write {path}: {error}; free some space or set SATM_HOME elsewhere") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def held(lock_file: Path, what: str, progress: Progress) -> Iterator[None]:
    """Hold a lock while `what` is trained. If another process holds it, say so and wait, ready to stop."""
    from filelock import FileLock, Timeout

    lock = FileLock(lock_file)
    waiting = False
    while True:
        try:
            lock.acquire(timeout=1 if waiting else 0)
            break
        except Timeout:
            if not waiting:
                progress.say(f"{what} is being trained by another process; waiting for it")
            waiting = True
            if progress.stopping():
                raise Interrupted("stopped while waiting for another process; nothing was lost") from None
    try:
        yield
    finally:
        lock.release()
