"""`SATM_HOME`, the folder of files that can be made again: its locks, and writing a file durably or not at all."""

from __future__ import annotations

import errno
import glob
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from satm.errors import Interrupted, SatmError
from satm.progress import Progress

if TYPE_CHECKING:
    from filelock import BaseFileLock

STALE_SECONDS = 3600.0  # a write that has not moved for this long was killed
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}  # file systems that cannot sync a folder say one of these
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG}
_OURS = "set SATM_HOME to a folder of yours"


def home() -> Path:
    """The folder of expert trajectories, ZCA transforms and checkpoints: `SATM_HOME`, else the user's data folder."""
    named = os.environ.get("SATM_HOME")
    if named:
        return Path(named).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("satm"))


def refused(action: str, path: Path, error: Exception, *, otherwise: str = _OURS) -> SatmError:
    """The SatmError for an `error` of the system at `action` (`read`, `write`, `make folder`, `lock`) on `path`.

    `otherwise` says what else the user can do.
    """
    if isinstance(error, PermissionError):
        return SatmError(f"no permission to {action} {path}; ask its owner for it, or {otherwise}")
    reason = getattr(error, "strerror", None) or str(error)
    if not isinstance(error, OSError) or error.errno in _NO_SPACE:
        return SatmError(f"cannot {action} {path}: {reason}; free some space or {otherwise}")
    out = otherwise
    return SatmError(f"cannot {action} {path}: {reason}; {out}")


def make_folder(path: Path, *, otherwise: str = _OURS) -> None:
    """Make the folder `path` and its parents, so that they outlive a power cut; raises SatmError if that fails."""
    try:
        new = [each for each in (path, *path.parents) if not each.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for each in new:
            sync(each.parent)
    except OSError as error:
        raise refused("make folder", path, error, otherwise=otherwise) from error


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk, so that it outlives a power cut. Raises OSError if that fails."""
    folder = path.is_dir()
    if folder and os.name == "nt":  # Windows opens no folders
        return
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        if not folder or error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(handle)


def put_in_place(made: Path, target: Path) -> None:
    """Give a complete file or folder its name `target`, durably: a power cut leaves all of it or none.

    Raises OSError. A file that has the name is replaced.
    """
    for each in sorted(made.rglob("*")) if made.is_dir() else ():
        if not each.is_symlink():
            sync(each)
    sync(made)
    os.replace(made, target)
    sync(target.parent)


def write_atomically(
    path: Path,
    write: Callable[[Path], None],
    *,
    before: Callable[[], None] | None = None,
    otherwise: str = _OURS,
) -> None:
    """Call `write` on a temporary file, then move it to `path`, durably. Its mode follows the umask.

    A reader sees either the old file or the complete new one, also after a power cut. A killed process leaves at most a
    folder `<name>.….tmp`; a later write to the same path removes it. `before` is called when the new file is complete
    and the old one is still there. Raises SatmError if the folder cannot be written or the disk is full; it says what
    the user can do `otherwise`.
    """
    from safetensors import SafetensorError

    make_folder(path.parent, otherwise=otherwise)
    folder: str | None = None
    try:
        _drop_stale(path)
        # A folder, because writers of the libraries make temporary files of their own beside the one they are given.
        folder = tempfile.mkdtemp(prefix=path.name + ".", suffix=".tmp", dir=path.parent)
        made = Path(folder) / path.name
        with made.open("xb") as empty:
            mode = os.fstat(empty.fileno()).st_mode & 0o777  # what the umask leaves
        write(made)
        made.chmod(mode)
        sync(made)
        if before is not None:
            before()
        put_in_place(made, path)
    except (OSError, SafetensorError) as error:
        raise refused("write", path, error, otherwise=otherwise) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` as `write_atomically` writes. Raises SatmError."""
    write_atomically(path, lambda made: _fill(made, data))


def _fill(made: Path, data: bytes) -> None:
    made.write_bytes(data)


def _drop_stale(path: Path) -> None:
    """Remove what killed writes to `path` have left."""
    for folder in path.parent.glob(f"{glob.escape(path.name)}.*.tmp"):
        if is_stale(folder):
            shutil.rmtree(folder, ignore_errors=True)


def is_stale(unfinished: Path) -> bool:
    """Whether a killed write has left this file or folder: nobody has written to it or into it for `STALE_SECONDS`."""
    try:
        newest = max(each.stat().st_mtime for each in (unfinished, *unfinished.glob("**/*")))
    except OSError:  # its writer has just finished
        return False
    return time.time() - newest > STALE_SECONDS


def acquire(lock_file: Path, timeout: float) -> BaseFileLock:
    """The lock of `lock_file`, held. Raises filelock.Timeout if another process holds it for `timeout` seconds.

    If another process removes the file after this one has opened it, filelock opens it anew. Raises SatmError if the
    file cannot be made.
    """
    from filelock import FileLock, Timeout

    make_folder(lock_file.parent)
    lock = FileLock(lock_file)
    try:
        lock.acquire(timeout=timeout)
    except Timeout:
        raise
    except (OSError, NotImplementedError) as error:
        raise refused("lock", lock_file, error) from error
    return lock


@contextmanager
def held_now(lock_file: Path, *, remove: bool = False) -> Iterator[None]:
    """Hold a lock. Raises filelock.Timeout if another process holds it now.

    With `remove` its file is removed at the end, while the lock is still held: this is the only way to remove one, and
    `acquire` never gives the lock of a file that is gone.
    """
    lock = acquire(lock_file, timeout=0)
    try:
        yield
        if remove:
            with suppress(OSError):  # Windows removes no open file
                lock_file.unlink()
    finally:
        lock.release()


@contextmanager
def held(lock_file: Path, what: str, progress: Progress) -> Iterator[None]:
    """Hold a lock while `what` is trained. If another process holds it, say so and wait, ready to stop."""
    from filelock import Timeout

    waiting = False
    while True:
        try:
            lock = acquire(lock_file, timeout=1 if waiting else 0)
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
