"""SQLite connections to a registry file: for writing in WAL mode, and for reading also where nothing can be written.

In WAL mode (write-ahead log) a writer appends its changes to a log, a file beside the registry file with a name that
ends with `-wal`. So readers and the writer never wait for each other. All connections share an index of the log, which
is in a third file (`-shm`). SQLite copies the log into the registry file from time to time. When the last connection is
closed, SQLite removes the log and the index.
"""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from registry.location import network_file_system, writable
from satm.errors import RegistryBusy, RegistryError

LOG_BYTES = 64 * 2**20  # a large set makes the log longer; SQLite cuts it to this size after copying it into the file

# For each error of SQLite, what is wrong with the registry file and what to do. The key is a part of SQLite's message.
_ADVICE = {
    "locked": "is in use by another process; try again when that has finished",
    "readonly": "cannot be written; name a file you can write with --registry",
    "unable to open": "cannot be opened; check the folder and its permissions, or name another file with --registry",
    "not a database": "is not a SQLite file; name another file with --registry",
    "malformed": "is damaged; restore a copy of it",
    "not decode": "is damaged: it holds text that is not UTF-8; restore a copy of it",
    "is full": "cannot grow: the disk is full; free some space",
    "disk I/O": "cannot be read or written (disk I/O error): the disk is full, damaged or gone; check it",
    "FOREIGN KEY": "does not hold the set, run or recipe that a new row names; store that first",
}


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an error of SQLite into a RegistryError that begins with the file's path."""
    try:
        yield
    except UnicodeDecodeError as error:  # a damaged text in the file, or a damaged name in SQLite's message
        raise RegistryError(f"{path} {_ADVICE['malformed']}") from error
    except (sqlite3.Error, OverflowError) as error:
        text = " ".join(str(error).split())
        advice = next((advice for part, advice in _ADVICE.items() if part in text), f"refused: {text}")
        raise (RegistryBusy if is_busy(error) else RegistryError)(f"{path} {advice}") from error


def is_busy(error: BaseException) -> bool:
    """Return whether SQLite raised this error because another connection holds a lock."""
    return code_of(error) & 0xFF == sqlite3.SQLITE_BUSY  # the last byte of an extended code is the basic code


def code_of(error: BaseException) -> int:
    """Return SQLite's extended error code; 0 if the error comes from Python's sqlite3 module and not from SQLite."""
    return int(getattr(error, "sqlite_errorcode", 0))


def connect_for_writing(path: Path, timeout: float) -> sqlite3.Connection:
    """Open a connection that may write to the file at `path`, which `make_file` has made.

    Call `use_log` on the connection as soon as the file has the tables of a registry.
    """
    return _connect(path, "mode=rwc", timeout)


def make_file(path: Path) -> None:
    """Make an empty file at `path` if nothing exists there.

    The file gets the usual permissions of a new file. If SQLite makes the file, other users of the file's Unix group
    can never write to it.
    """
    with suppress(OSError):  # if the file cannot be made, SQLite raises an error with the reason later
        # With O_EXCL an existing registry is not opened. Opening and closing it would end all locks that this process
        # holds on it.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))


def use_log(connection: sqlite3.Connection) -> bool:
    """Put the file in WAL mode. If this returns True, call `sync_log` after each commit.

    A commit must survive a power cut, because the saved state of a run is deleted as soon as its set is stored. With
    `synchronous = FULL` SQLite waits for the disk while it holds the write lock, and all other writers wait too. With
    `synchronous = NORMAL` SQLite does not wait for the disk. Instead, `sync_log` waits after the lock is released. This
    is as safe, and eight writers are ten times faster (benchmarks/registry_writers.py).

    Returns False if another process reads a file that is not in WAL mode yet. Then SQLite waits for the disk itself.
    """
    try:
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    except sqlite3.OperationalError as error:
        # Another process reads this file, which an older version of satm made in another mode. Everything works in
        # that mode too. The next process that opens the file tries to change the mode again.
        if not is_busy(error):
            raise
        mode = "other"
    connection.execute(f"PRAGMA synchronous = {'NORMAL' if mode == 'wal' else 'FULL'}")
    connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
    return bool(mode == "wal")


def sync_log(path: Path) -> None:
    """Wait until everything that was committed to the registry at `path` is on the disk.

    Raises RegistryError if the log was deleted, or if it cannot be written to the disk.
    """
    log = path.with_name(path.name + "-wal")
    try:
        file = os.open(log, os.O_RDWR)
        try:
            getattr(os, "fdatasync", os.fsync)(file)
        finally:
            os.close(file)
    except FileNotFoundError as error:
        raise RegistryError(f"{log} was deleted while it was in use, and what it held is lost; do it again") from error
    except PermissionError as error:
        raise RegistryError(f"{log} cannot be written: {error.strerror}; allow yourself to write it") from error
    except OSError as error:
        raise RegistryError(f"{log} cannot be written: {error.strerror}; check the disk") from error


def inode(path: Path) -> tuple[int, int] | None:
    """Return the device and inode number of the file at `path`; None if there is no file.

    These numbers stay the same if the file is renamed. A new file under the same name has other numbers.
    """
    try:
        facts = os.stat(path)
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


@dataclass(frozen=True, slots=True)
class Stamp:
    """The state of a registry file on disk. If the stamp of a file changes, somebody has written to the file."""

    inode: tuple[int, int]  # device and inode number
    size: int  # the size in bytes
    modified: int  # the time of the last change, in nanoseconds
    pending: int  # the number of bytes in SQLite's log and journal beside the file
    # The time at which the log or journal was last written, in nanoseconds. It is needed beside the size: SQLite writes
    # over a log that was already copied into the file, and then the size of the log does not change.
    appended: int

    @classmethod
    def of(cls, path: Path) -> Self | None:
        """Return the stamp of the registry file at `path`; None if there is no file."""
        try:
            facts = path.stat()
        except OSError:
            return None
        pending = appended = 0
        for ending in ("-wal", "-journal"):
            with suppress(OSError):  # there is no such file, or its writer has just removed it
                log = path.with_name(path.name + ending).stat()
                pending += log.st_size
                # The time of an empty log is ignored, because a reader makes an empty log too.
                appended = max(appended, log.st_mtime_ns if log.st_size else 0)
        return cls((facts.st_dev, facts.st_ino), facts.st_size, facts.st_mtime_ns, pending, appended)


def connect_for_reading(path: Path, timeout: float) -> tuple[sqlite3.Connection, Stamp | None]:
    """Open a connection that refuses to write. Return the connection, and a stamp of the file or None.

    SQLite needs to write its index (`-shm`) even to read a file in WAL mode. If SQLite cannot write there (a read-only
    folder, a full disk, a network file system), this function tells SQLite that the file never changes, and SQLite
    makes no index. What is read is then right only if nobody writes to the file meanwhile. So in this case the stamp of
    the file is returned, and the caller must compare it with the stamp after reading. In all other cases the second
    value is None.

    Raises RegistryError if SQLite cannot write there and a part of the contents is only in the log. Raises
    sqlite3.OperationalError if the file is locked for `timeout` seconds.
    """
    if network_file_system(path) is None:
        # With mode=rw, SQLite removes `-wal` and `-shm` when the connection is closed; with mode=ro it leaves them.
        connection = _connect(path, "mode=rw" if writable(path) else "mode=ro", timeout)
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("SELECT count(*) FROM sqlite_master")
            return connection, None
        except sqlite3.OperationalError as error:
            connection.close()
            if is_busy(error):
                raise
        except BaseException:
            connection.close()
            raise
    stamp = Stamp.of(path)
    if stamp is not None and stamp.pending:
        raise RegistryError(
            f"{path} cannot be read here: part of it is still in the -wal or -journal file beside it, and SQLite needs "
            "to write in this folder to read that; open it where it can be written, or copy all of its files"
        )
    return _connect(path, "mode=ro&immutable=1", timeout), stamp


def connect_to_copy(source: sqlite3.Connection) -> sqlite3.Connection:
    """Copy a database to a temporary file and return a connection to the copy.

    SQLite deletes the copy when the connection is closed.
    """
    copy = _prepared(sqlite3.connect(""))  # SQLite opens a temporary file for an empty name
    try:
        source.backup(copy)
    except BaseException:
        copy.close()
        raise
    return copy


def _connect(path: Path, how: str, timeout: float) -> sqlite3.Connection:
    return _prepared(sqlite3.connect(f"{path.as_uri()}?{how}", uri=True, timeout=timeout))


def _prepared(connection: sqlite3.Connection) -> sqlite3.Connection:
    try:
        connection.execute("SELECT sqrt(1.0)")
    except sqlite3.OperationalError:  # this SQLite was built without mathematical functions, but our views use sqrt
        connection.create_function("sqrt", 1, math.sqrt, deterministic=True)
    return connection
