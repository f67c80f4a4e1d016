"""A user's SQL on a registry: it only reads, its rows come one by one, and it can be stopped."""

from __future__ import annotations

import sqlite3
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from registry.connection import code_of
from satm.errors import RegistryError

CHECK_EVERY = 10_000  # instructions of SQLite between two looks at the clock: well under a millisecond

READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
PRAGMAS = {  # those that only look
    *("table_list", "table_info", "table_xinfo", "index_list", "index_info", "index_xinfo", "foreign_key_list"),
    *("foreign_key_check", "integrity_check", "quick_check", "database_list", "function_list", "compile_options"),
}


@dataclass(frozen=True)
class Selection:
    """The result of one SELECT. The rows are computed while they are taken."""

    columns: list[str]
    rows: Iterator[tuple[Any, ...]]


@contextmanager
def selecting(connection: sqlite3.Connection, sql: str, *, timeout: float | None) -> Iterator[Selection]:
    """The result of `sql`, while the context lasts. `timeout`: the seconds that SQLite may compute; None: no limit.

    Raises RegistryError if the SQL does more than read, returns no rows or takes too long; KeyboardInterrupt on Ctrl-C;
    sqlite3.Error if the SQL is wrong.
    """
    said = textwrap.shorten(sql, 80, placeholder=" …")
    clock = _Clock(timeout)
    connection.set_progress_handler(clock.is_over, CHECK_EVERY)
    try:
        with clock.running(said):
            cursor = _prepared(connection, sql, said)
        if cursor.description is None:
            raise RegistryError(f"'{said}' returns no rows; expected a SELECT")
        yield Selection([column[0] for column in cursor.description], _rows(cursor, clock, said))
        cursor.close()
    finally:
        connection.set_progress_handler(None, 0)


def _prepared(connection: sqlite3.Connection, sql: str, said: str) -> sqlite3.Cursor:
    connection.set_authorizer(_only_reading)
    try:
        return connection.execute(sql)
    except sqlite3.DatabaseError as error:
        if code_of(error) != sqlite3.SQLITE_AUTH and "authoriz" not in str(error):  # VACUUM gives no code
            raise
        raise RegistryError(f"'{said}' does more than read, and a query only reads") from error
    finally:
        connection.set_authorizer(None)


def _only_reading(action: int, name: str | None, *_: str | None) -> int:
    """SQLite's question about each part of a statement. ATTACH and VACUUM INTO could make other files."""
    allowed = action in READING or (action == sqlite3.SQLITE_PRAGMA and name in PRAGMAS)
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _rows(cursor: sqlite3.Cursor, clock: _Clock, said: str) -> Iterator[tuple[Any, ...]]:
    while True:
        with clock.running(said):
            row = cursor.fetchone()
        if row is None:
            return
        yield row


class _Clock:
    """Counts the seconds that SQLite computes. The time in which a reader looks at the rows does not count."""

    def __init__(self, timeout: float | None) -> None:
        self._timeout = timeout
        self._spent = 0.0
        self._since = 0.0

    def is_over(self) -> bool:
        """Whether SQLite must stop. Python also handles Ctrl-C during this call."""
        return self._timeout is not None and self._spent + time.monotonic() - self._since > self._timeout

    @contextmanager
    def running(self, said: str) -> Iterator[None]:
        self._since = time.monotonic()
        try:
            yield
        except sqlite3.OperationalError as error:
            if code_of(error) != sqlite3.SQLITE_INTERRUPT:
                raise
            if self.is_over():
                raise RegistryError(f"'{said}' took more than {self._timeout:g} s; allow more with --timeout") from None
            raise KeyboardInterrupt from None  # SQLite swallowed it
        finally:
            self._spent += time.monotonic() - self._since
