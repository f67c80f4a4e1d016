"""SQLite connections to a registry file: for writing in WAL mode, and for reading wherever the file lies.

In WAL mode a writer appends to a log beside the file (`-wal`), so readers and the writer never wait for each other. A
shared index (`-shm`) lies there too. SQLite copies the log into the file now and then, and removes both when the last
connection is closed.
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

LOG_BYTES = 64 * 2**20  # what the log may keep on disk after a large set went through it

# The advice for an error of SQLite, by a part of its message.
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
    except UnicodeDecodeError as error:  # a text, or the name of a table in a message, is no text any more
        raise RegistryError(f"{path} {_ADVICE['malformed']}") from error
    except (sqlite3.Error, OverflowError) as error:
        text = " ".join(str(error).split())
        advice = next((advice for part, advice in _ADVICE.items() if part in text), f"refused: {text}")
        raise (RegistryBusy if is_busy(error) else RegistryError)(f"{path} {advice}") from error


def is_busy(error: BaseException) -> bool:
    """Whether SQLite gave up because another connection holds a lock."""
    return code_of(error) & 0xFF == sqlite3.SQLITE_BUSY


def code_of(error: BaseException) -> int:
    """SQLite's extended code of an error; 0 if Python's module raised the error by itself."""
    return int(getattr(error, "sqlite_errorcode", 0))


def connect_for_writing(path: Path, timeout: float) -> sqlite3.Connection:
    """A connection that may write to the file of `make_file`. Call `use_log` when the file is a registry."""
    return _connect(path, "mode=rwc", timeout)


def make_file(path: Path) -> None:
    """Make an empty file at `path` unless there is something. SQLite's own files never let a group write."""
    with suppress(OSError):  # what is wrong with the place, SQLite says
        # Without O_EXCL, to close the file would end this process's locks on a registry that is there.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))


def use_log(connection: sqlite3.Connection) -> bool:
    """Put the file in WAL mode. If this returns True, call `sync_log` after each commit.

    A commit must survive a power cut: the saved state of a run is deleted as soon as its set is stored. With
    `synchronous = FULL` SQLite waits for the disk while it holds the write lock, so writers wait for each other's disk
    times. With NORMAL it does not wait, and `sync_log` does, after the lock is free. That keeps as much, and eight
    writers are ten times faster (benchmarks/registry_writers.py).
    """
    try:
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    except sqlite3.OperationalError as error:
        # Another process reads a file of an older version. All works in its mode too; the next opening tries again.
        if not is_busy(error):
            raise
        mode = "other"
    connection.execute(f"PRAGMA synchronous = {'NORMAL' if mode == 'wal' else 'FULL'}")
    connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
    return bool(mode == "wal")


def sync_log(path: Path) -> None:
    """Wait until all that was committed to the registry at `path` is on the disk.

    Raises RegistryError if the log is gone or the disk fails.
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
    """What the file system calls the file at `path`, whatever its name; None if there is no file."""
    try:
        facts = os.stat(path)
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


@dataclass(frozen=True, slots=True)
class Stamp:
    """The state of a file on disk. A different stamp means that somebody has written the file."""

    inode: tuple[int, int]
    size: int
    modified: int  # nanoseconds
    pending: int  # bytes that are not in the file yet, but in SQLite's log or journal beside it
    appended: int  # nanoseconds: when that log was written last. SQLite writes over a log that is in the file already

    @classmethod
    def of(cls, path: Path) -> Self | None:
        """The stamp of the registry file at `path`; None if it is gone."""
        try:
            facts = path.stat()
        except OSError:
            return None
        pending = appended = 0
        for ending in ("-wal", "-journal"):
            with suppress(OSError):  # there is none, or its writer has just removed it
                log = path.with_name(path.name + ending).stat()
                pending += log.st_size
                appended = max(appended, log.st_mtime_ns if log.st_size else 0)  # an empty one is a reader's
        return cls((facts.st_dev, facts.st_ino), facts.st_size, facts.st_mtime_ns, pending, appended)


def connect_for_reading(path: Path, timeout: float) -> tuple[sqlite3.Connection, Stamp | None]:
    """A connection that refuses to write.

    SQLite needs to write its index even to read a file in WAL mode. If that is impossible (a read-only folder, a full
    disk, a network file system), the file is read as one that never changes. That is right as long as nobody writes it.
    Then the stamp of the file is returned too, and the caller compares it after reading; otherwise None is.

    Raises RegistryError if a part of the file is only in its log, sqlite3.OperationalError if it is locked for
    `timeout` seconds.
    """
    if network_file_system(path) is None:
        # A connection that could write removes `-wal` and `-shm` when it is closed; one with mode=ro leaves them.
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
    """A connection to a temporary copy of a database. SQLite deletes the copy when it is closed."""
    copy = _prepared(sqlite3.connect(""))
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
    except sqlite3.OperationalError:  # SQLite was built without mathematical functions; the views need this one
        connection.create_function("sqrt", 1, math.sqrt, deterministic=True)
    return connection
