"""An open registry file: its connection, its transactions, and SQLite's errors, each as one clear line.

`Store` depends on no table except that of the totals. The classes for sets, runs and results build on its three
methods: `_rows` and `_one` read records, and `_writing` opens a transaction. `registry.migrations` makes the tables.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from registry.connection import (
    Stamp,
    connect_for_reading,
    connect_for_writing,
    connect_to_copy,
    explained,
    inode,
    is_busy,
    make_file,
    sync_log,
    use_log,
)
from registry.location import check
from registry.migrations import OlderSchema, database, migrate
from registry.records import from_row
from registry.selection import Selection, selecting
from registry.totals import Totals
from satm.errors import RegistryBusy, RegistryError

if TYPE_CHECKING:
    from registry.records import Row

TRY = 1.0  # seconds that SQLite waits at one try to open a file for writing
PATIENCE = 30.0  # seconds that a reader waits for a file that is not in WAL mode
PAUSE, LONGEST_PAUSE = 0.001, 0.02  # seconds between two tries for the write lock: doubled each time, up to the longest


def now() -> str:
    """The time in UTC as ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Store:
    """A connection to a registry file with the newest schema. SQLite enforces foreign keys."""

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        *,
        timeout: float | None = 30.0,
        waiting: Callable[[float], None] = lambda seconds: None,
        frozen: Stamp | None = None,
        logged: bool = False,
        place: tuple[int, int] | None = None,
        totals: Totals | None = None,
    ) -> None:
        self.path = path
        self._connection = connection
        self._timeout, self._waiting = timeout, waiting
        self._frozen = frozen  # the stamp of a file that is read as one that never changes
        self._logged = logged  # commits are not on the disk before `sync_log`
        self._totals = totals  # None: the registry is only read
        self._place = place  # the inode of the file that is written

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection itself, for a program that runs SQL of its own; it must not write."""
        return self._connection

    @cached_property
    def _db(self) -> Any:
        """The sqlite_utils.Database that writes. It takes longer to import than most commands take to read."""
        return database(self._connection)

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        must_exist: bool = False,
        read_only: bool = False,
        timeout: float | None = 30.0,
        waiting: Callable[[float], None] = lambda seconds: None,
    ) -> Self:
        """Open the registry at `path` and bring it to the newest schema.

        Args:
            path: the SQLite file.
            must_exist: raise an error if there is no file, instead of making one.
            read_only: do not write; then the file must exist too. A registry of an older version is then copied to a
                temporary file, and the copy is brought to the newest schema.
            timeout: seconds that opening and each write wait for another process; None: as long as it takes.
            waiting: called with the seconds waited so far, again and again while a write waits. It may raise an error
                to give up.

        Raises RegistryError, before anything is written, if the file is missing, cannot be written, is no registry,
        comes from a newer version, or is to be written on a network file system.
        """
        path = absolute(path)
        check(path, must_exist=must_exist or read_only, read_only=read_only)
        with explained(path):
            if read_only:
                connection, frozen = _reading(path, PATIENCE if timeout is None else timeout)
                return cls(path, connection, frozen=frozen, place=inode(path))
            connection, logged, place = _patiently(path, timeout, waiting)
            return cls(
                path,
                connection,
                timeout=timeout,
                waiting=waiting,
                logged=logged,
                place=place,
                totals=Totals(connection),
            )

    def close(self) -> None:
        """Close the file; an open transaction is undone."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def select(
        self, sql: str, *, timeout: float | None = None, stuck: Callable[[str], None] | None = None
    ) -> Iterator[Selection]:
        """The columns and rows of one SELECT; the rows can be taken one by one while the context lasts.

        `timeout` limits the seconds that SQLite computes; for `stuck` see `registry.selection`. Raises RegistryError if
        the SQL is wrong, does more than read, returns no rows or takes longer.
        """
        with explained(self.path), selecting(self._connection, sql, timeout=timeout, stuck=stuck) as found:
            yield found
            self._check_frozen()

    def query(self, sql: str, *, timeout: float | None = None) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Column names and all rows of one SELECT; see `select`."""
        with self.select(sql, timeout=timeout) as found:
            return found.columns, list(found.rows)

    @contextmanager
    def _writing(self, *, wait: bool = True) -> Iterator[Any]:
        """The database in a transaction. It holds the write lock from its start, and any error undoes it.

        Raises RegistryBusy if another process holds the lock for the timeout, or now if `wait` is False; RegistryError
        if the file is no longer where it was.
        """
        with explained(self.path):
            self._check_place()
            self._lock(self._timeout if wait else 0.0)
            try:
                self._check_place()  # the wait may have been long
                if self._totals is not None:
                    self._totals.begin()
                yield self._db
                if self._totals is not None:
                    self._totals.store()
                self._connection.commit()
            except BaseException:
                self._connection.rollback()
                raise
            if self._logged:
                sync_log(self.path)

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """All that is read in this context is of one moment, even while another process writes."""
        if self._connection.in_transaction:
            yield
            return
        with explained(self.path):
            self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.rollback()

    def _lock(self, timeout: float | None) -> None:
        """Begin a transaction that holds the write lock.

        SQLite waits 100 ms between its tries, so a process can be overtaken again and again. The pauses here are short
        and random.
        """
        draws, pause, started = random.SystemRandom(), PAUSE, time.monotonic()
        (patience,) = self._connection.execute("PRAGMA busy_timeout").fetchone()
        self._connection.execute("PRAGMA busy_timeout = 0")
        try:
            while True:
                try:
                    # After a deferred BEGIN, a read and then a write fail at once if another process writes.
                    self._connection.execute("BEGIN IMMEDIATE")
                    return
                except sqlite3.OperationalError as error:
                    waited = time.monotonic() - started
                    if not is_busy(error) or (timeout is not None and waited >= timeout):
                        raise
                self._waiting(waited)
                time.sleep(draws.uniform(0, pause))
                pause = min(2 * pause, LONGEST_PAUSE)
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {patience}")

    def _check_place(self) -> None:
        """Raise RegistryError if the file was deleted or replaced: what is written now would be lost."""
        if inode(self.path) != self._place:
            raise RegistryError(f"{self.path} was deleted, moved or replaced while it was in use; put it back")

    def _check_frozen(self) -> None:
        if self._frozen is not None:
            check_unchanged(self.path, self._frozen)

    def _rows(self, kind: type[Row], sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """The rows of a SELECT as records of `kind`."""
        with explained(self.path):
            return [from_row(kind, row) for row in self._mappings(sql, values)]

    def _mappings(self, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """The rows of a SELECT by column."""
        with explained(self.path):
            cursor = self._connection.execute(sql, values)
            columns = [column[0] for column in cursor.description]
            found = [dict(zip(columns, row, strict=True)) for row in cursor]
            self._check_frozen()
            return found

    def _tuples(self, sql: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of a SELECT, one at a time."""
        with explained(self.path):
            yield from self._connection.execute(sql, values)
            self._check_frozen()

    def _one(self, kind: type[Row], table: str, row_id: str) -> Row:
        """The record with this id; raises RegistryError if there is none."""
        found = self._rows(kind, f"SELECT * FROM {table} WHERE id = ?", [row_id])
        if not found:
            raise RegistryError(f"{self.path} holds nothing under id '{row_id}' in {table}")
        return found[0]


def where(filters: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """A WHERE clause and its values, for the columns whose value is not None; "" if there are none."""
    wanted = {column: value for column, value in filters.items() if value is not None}
    clause = " AND ".join(f'"{column}" = ?' for column in wanted)
    return f"WHERE {clause}" if clause else "", list(wanted.values())


def absolute(path: Path | str) -> Path:
    """`path` as an absolute path; raises RegistryError for the folder of a user who does not exist."""
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:  # a user of this name does not exist
        raise RegistryError(f"{path}: {error}; name another file with --registry") from error


def _patiently(
    path: Path, timeout: float | None, waiting: Callable[[float], None]
) -> tuple[sqlite3.Connection, bool, tuple[int, int] | None]:
    """`_writing`; while another process holds the file, it tries again for `timeout` seconds."""
    started = time.monotonic()
    while True:
        try:
            return _writing(path, TRY if timeout is None else min(TRY, timeout))
        except sqlite3.OperationalError as error:
            waited = time.monotonic() - started
            if not is_busy(error) or (timeout is not None and waited >= timeout):
                raise
        waiting(waited)


def _writing(path: Path, patience: float) -> tuple[sqlite3.Connection, bool, tuple[int, int] | None]:
    """A connection for writing, to the newest schema; whether its commits need `sync_log`; and the inode of its file.

    Raises RegistryError if the file is replaced meanwhile: the connection may be to either of the two.
    """
    make_file(path)
    place = inode(path)
    connection = connect_for_writing(path, patience)
    try:
        _bring_up_to_date(connection, path)
        logged = use_log(connection)
        if inode(path) != place:
            raise RegistryError(f"{path} was deleted, moved or replaced while it was opened; do it again")
        return connection, logged, place
    except BaseException:
        connection.close()
        raise


def _reading(path: Path, patience: float) -> tuple[sqlite3.Connection, Stamp | None]:
    """A connection for reading, to the newest schema; and the stamp of the file, if it is read as frozen."""
    connection, frozen = connect_for_reading(path, patience)
    try:
        _bring_up_to_date(connection, path, read_only=True)
        return connection, frozen
    except OlderSchema:
        copy = connect_to_copy(connection)  # SQLite deletes it when it is closed
        try:
            if frozen is not None:
                check_unchanged(path, frozen)
            _bring_up_to_date(copy, path)
            copy.execute("PRAGMA query_only = ON")
        except BaseException:
            copy.close()
            raise
        finally:
            connection.close()
        return copy, None
    except BaseException:
        connection.close()
        raise


def _bring_up_to_date(connection: sqlite3.Connection, path: Path, *, read_only: bool = False) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    try:
        migrate(connection, read_only=read_only)
    except OlderSchema:
        raise
    except RegistryError as error:
        raise RegistryError(f"{path} {error}") from None


def check_unchanged(path: Path, stamp: Stamp) -> None:
    """Raise RegistryBusy if a file that is read as one that never changes was written."""
    if Stamp.of(path) != stamp:
        raise RegistryBusy(f"{path} was written while it was read; read it again")
