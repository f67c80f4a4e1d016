"""The folder `SATM_HOME` of files that can be made again, its locks, and safe writing of files.

A safe write leaves either the complete new file or no change, also after a power cut.
"""

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

STALE_SECONDS = 3600.0  # an unfinished write that has not changed for this long is taken as killed
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}  # the errors of file systems that cannot sync a folder
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG}  # errors for which the advice is to free some space
_OURS = "set SATM_HOME to a folder of yours"  # the usual advice


def home() -> Path:
    """Return the folder of all files that can be made again, such as expert trajectories and ZCA transforms.

    It is `SATM_HOME` if this environment variable is set, else a folder in the user's data folder.
    """
    named = os.environ.get("SATM_HOME")
    if named:
        return Path(named).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("satm"))


def refused(action: str, path: Path, error: Exception, *, otherwise: str = _OURS) -> SatmError:
    """Return the SatmError to raise if an `action` on `path` failed with an `error` of the operating system.

    `action` is `read`, `write`, `make folder` or `lock`. `otherwise` is the advice to the user in the message.
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
    """Move a complete file or folder to its final name `target`. After a power cut, all of it is there or nothing.

    An existing file of this name is replaced. Raises OSError if the move fails.
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
    """Call `write` with a temporary path, then move the file that it makes to `path`.

    A reader sees either the old file or the complete new one, also after a power cut. The new file has the permissions
    that the umask gives. A killed process leaves at most a folder `<name>.….tmp`, which a later write to the same path
    removes. `before` is called when the new file is complete and the old file is still there. Raises SatmError if the
    folder cannot be written or the disk is full; `otherwise` is the advice in its message.
    """
    from safetensors import SafetensorError

    make_folder(path.parent, otherwise=otherwise)
    folder: str | None = None
    try:
        _drop_stale(path)
        # A temporary folder, because some libraries write temporary files of their own beside the file that they write.
        folder = tempfile.mkdtemp(prefix=path.name + ".", suffix=".tmp", dir=path.parent)
        made = Path(folder) / path.name
        with made.open("xb") as empty:
            mode = os.fstat(empty.fileno()).st_mode & 0o777  # the permissions that the umask gives
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
    """Write `data` to `path` as `write_atomically` does. Raises SatmError if that fails."""
    write_atomically(path, lambda made: _fill(made, data))


def _fill(made: Path, data: bytes) -> None:
    made.write_bytes(data)


def _drop_stale(path: Path) -> None:
    """Remove the temporary folders that killed writes to `path` have left."""
    for folder in path.parent.glob(f"{glob.escape(path.name)}.*.tmp"):
        if is_stale(folder):
            shutil.rmtree(folder, ignore_errors=True)


def is_stale(unfinished: Path) -> bool:
    """Whether a killed write has left this file or folder: for `STALE_SECONDS`, nothing in it has changed."""
    try:
        newest = max(each.stat().st_mtime for each in (unfinished, *unfinished.glob("**/*")))
    except OSError:  # it is gone, because its writer has just finished
        return False
    return time.time() - newest > STALE_SECONDS


def acquire(lock_file: Path, timeout: float) -> BaseFileLock:
    """Take the lock of `lock_file` and return it.

    Raises filelock.Timeout if another process holds the lock for `timeout` seconds, and SatmError if the file cannot be
    made. If another process removes the file after this process has opened it, filelock opens it again.
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
    """Hold the lock of `lock_file` during a `with` block. Raises filelock.Timeout if another process holds it now.

    If `remove` is True, the lock file is removed at the end, while the lock is still held. This is the only safe way to
    remove a lock file: a process that waits for the lock then gets it on a new file (`acquire`), and not on the removed
    one.
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
    """Hold the lock of `lock_file` during a `with` block that trains something; `what` is its name for messages.

    If another process holds the lock, report this to `progress` and wait. Raises Interrupted if `progress` asks to stop
    while this process waits.
    """
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
