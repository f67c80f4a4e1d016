"""An open registry file: its connection and its transactions. Each error of SQLite becomes one clear line.

`Store` uses no table except `totals`. The classes for sets, runs and results are subclasses of `Store`. They use three
of its methods: `_rows` and `_one` read records, and `_writing` opens a transaction. `registry.migrations` makes the
tables.
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

TRY = 1.0  # the number of seconds for which SQLite waits in one try to open a file for writing
# The number of seconds for which a reader without a timeout waits for a locked file. In WAL mode a reader never waits.
PATIENCE = 30.0
# The first and the longest pause between two tries to get the write lock, in seconds. The pause is doubled each time.
PAUSE, LONGEST_PAUSE = 0.001, 0.02


def now() -> str:
    """Return the present time in UTC as ISO 8601 text with milliseconds."""
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
        # The stamp of the file if it was opened as a file that never changes (`connect_for_reading`), else None.
        self._frozen = frozen
        self._logged = logged  # whether `sync_log` must be called after each commit, to wait for the disk
        self._totals = totals  # None if the registry is only read
        self._place = place  # the device and inode number of the file, to notice that it was replaced

    @property
    def connection(self) -> sqlite3.Connection:
        """The SQLite connection, for a program that runs its own SQL. The program must not write."""
        return self._connection

    @cached_property
    def _db(self) -> Any:
        """The sqlite_utils.Database of the connection.

        It is made only when it is needed: the import of sqlite_utils takes longer than most commands need to read.
        """
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
        """Open the registry at `path` and change it to the newest schema.

        Args:
            path: the SQLite file.
            must_exist: raise an error if the file does not exist. If False, the file is made.
            read_only: never write to the file. Then the file must exist. If an older version made the registry, a
                temporary copy gets the newest schema and is read instead.
            timeout: the number of seconds for which opening and each write wait for another process; None: no limit
                (if the file is only read: `PATIENCE`).
            waiting: called again and again while opening or a write waits. Its argument is the number of seconds waited
                so far. It may raise an error to end the waiting.

        Raises RegistryError, before anything is written, if the file must exist and is missing, is no registry, or was
        made by a newer version of satm. If `read_only` is False, it is also raised if the file cannot be written or is
        on a network file system.
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
        """Close the file. An open transaction is undone."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def select(
        self, sql: str, *, timeout: float | None = None, stuck: Callable[[str], None] | None = None
    ) -> Iterator[Selection]:
        """Run one SELECT. Its rows can be read one by one while the context lasts.

        `timeout` is the number of seconds for which SQLite may compute; for `stuck` see `registry.selection`. Raises
        RegistryError if the SQL is wrong, does more than read, returns no rows or takes too long.
        """
        with explained(self.path), selecting(self._connection, sql, timeout=timeout, stuck=stuck) as found:
            yield found
            self._check_frozen()

    def query(self, sql: str, *, timeout: float | None = None) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Run one SELECT, as `select` does, and return the names of the columns and all rows."""
        with self.select(sql, timeout=timeout) as found:
            return found.columns, list(found.rows)

    @contextmanager
    def _writing(self, *, wait: bool = True) -> Iterator[Any]:
        """Open a transaction and yield the database. Any error undoes the transaction.

        The transaction holds the write lock from its start. Raises RegistryBusy if another process holds the lock
        longer than the timeout or, if `wait` is False, if another process holds it now. Raises RegistryError if the
        file was deleted, moved or replaced.
        """
        with explained(self.path):
            self._check_place()
            self._lock(self._timeout if wait else 0.0)
            try:
                self._check_place()  # check again: the file may have been replaced during the wait
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
        """Open a context in which all reads see the state of one moment, even if another process writes meanwhile."""
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

        SQLite's own waiting is not used. It pauses for 100 ms between two tries, so other processes can get the lock
        first again and again. The pauses here are short and random.
        """
        draws, pause, started = random.SystemRandom(), PAUSE, time.monotonic()
        (patience,) = self._connection.execute("PRAGMA busy_timeout").fetchone()
        self._connection.execute("PRAGMA busy_timeout = 0")
        try:
            while True:
                try:
                    # A plain BEGIN takes the lock only at the first write. If this transaction has read before and
                    # another process writes in between, SQLite refuses the write at once.
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
        """Raise RegistryError if the file was deleted, moved or replaced. What is written now would be lost."""
        if inode(self.path) != self._place:
            raise RegistryError(f"{self.path} was deleted, moved or replaced while it was in use; put it back")

    def _check_frozen(self) -> None:
        if self._frozen is not None:
            check_unchanged(self.path, self._frozen)

    def _rows(self, kind: type[Row], sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Return the rows of a SELECT as records of the class `kind`."""
        with explained(self.path):
            return [from_row(kind, row) for row in self._mappings(sql, values)]

    def _mappings(self, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Return the rows of a SELECT as dictionaries by column name."""
        with explained(self.path):
            cursor = self._connection.execute(sql, values)
            columns = [column[0] for column in cursor.description]
            found = [dict(zip(columns, row, strict=True)) for row in cursor]
            self._check_frozen()
            return found

    def _tuples(self, sql: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a SELECT, one at a time."""
        with explained(self.path):
            yield from self._connection.execute(sql, values)
            self._check_frozen()

    def _one(self, kind: type[Row], table: str, row_id: str) -> Row:
        """Return the record with this id from `table`. Raises RegistryError if there is none."""
        found = self._rows(kind, f"SELECT * FROM {table} WHERE id = ?", [row_id])
        if not found:
            raise RegistryError(f"{self.path} holds nothing under id '{row_id}' in {table}")
        return found[0]


def where(filters: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """Return an SQL WHERE clause and its values: each column must equal its value in `filters`.

    A column with the value None is left out. If no column remains, the clause is "".
    """
    wanted = {column: value for column, value in filters.items() if value is not None}
    clause = " AND ".join(f'"{column}" = ?' for column in wanted)
    return f"WHERE {clause}" if clause else "", list(wanted.values())


def absolute(path: Path | str) -> Path:
    """Return `path` as an absolute path. Raises RegistryError if it begins with `~NAME` and no user has this name."""
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise RegistryError(f"{path}: {error}; name another file with --registry") from error


def _patiently(
    path: Path, timeout: float | None, waiting: Callable[[float], None]
) -> tuple[sqlite3.Connection, bool, tuple[int, int] | None]:
    """Call the function `_writing` and return its result.

    While another process holds the file, the call is repeated, but only for `timeout` seconds; None: without a limit.
    """
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
    """Open a file for writing and change it to the newest schema.

    Returns the connection, whether `sync_log` must be called after each commit, and the device and inode number of the
    file. Raises RegistryError if the file is replaced during the call. It is then unknown which of the two files the
    connection uses.
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
    """Open a file for reading. If an older version made the file, a copy with the newest schema is opened instead.

    Returns the connection, and a stamp if the connection is to the file itself and the file was opened as a file that
    never changes (`connect_for_reading`), else None.
    """
    connection, frozen = connect_for_reading(path, patience)
    try:
        _bring_up_to_date(connection, path, read_only=True)
        return connection, frozen
    except OlderSchema:
        copy = connect_to_copy(connection)
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
    """Raise RegistryBusy if the file at `path` has been written since `stamp` was made.

    This is for a file that was opened as a file that never changes (`connect_for_reading`).
    """
    if Stamp.of(path) != stamp:
        raise RegistryBusy(f"{path} was written while it was read; read it again")
