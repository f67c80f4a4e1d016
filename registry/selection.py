"""A user's SQL on a registry: it only reads, its rows come one by one, and it can be stopped."""

from __future__ import annotations

import sqlite3
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from registry.connection import code_of
from satm.errors import RegistryError

CHECK_EVERY = 10_000  # instructions of SQLite between two looks at the clock: well under a millisecond

LARGEST = 100_000_000  # most bytes of one text or blob in a query: SQLite cannot be interrupted while it builds one
GRACE = 0.5  # seconds after the time limit in which SQLite should have stopped

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
def selecting(
    connection: sqlite3.Connection, sql: str, *, timeout: float | None, stuck: Callable[[str], None] | None = None
) -> Iterator[Selection]:
    """The result of `sql`, while the context lasts. `timeout`: the seconds that SQLite may compute; None: no limit.

    SQLite looks at the clock between two steps, and one step may take long, such as to find one large text in another.
    Then `stuck` is called in another thread with the message of the error that should have been raised; it may end the
    process.

    Raises RegistryError if the SQL does more than read, returns no rows or takes too long; KeyboardInterrupt on Ctrl-C;
    sqlite3.Error if the SQL is wrong.
    """
    said = textwrap.shorten(sql, 80, placeholder=" …")
    clock = _Clock(timeout)
    connection.set_progress_handler(clock.is_over, CHECK_EVERY)
    largest = connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST)
    if stuck is not None and timeout is not None:
        threading.Thread(target=clock.watch, args=(said, stuck), daemon=True).start()
    try:
        with clock.running(said):
            cursor = _prepared(connection, sql, said)
        if cursor.description is None:
            raise RegistryError(f"'{said}' returns no rows; expected a SELECT")
        yield Selection([column[0] for column in cursor.description], _rows(cursor, clock, said))
        cursor.close()
    finally:
        clock.done.set()
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, largest)
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
    """SQLite calls this for each part of a statement: allow what only reads, deny the rest.

    ATTACH and VACUUM INTO are denied too: they could make other files.
    """
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
        self._since: float | None = None  # when SQLite began to compute; None while it does not
        self.done = threading.Event()

    def is_over(self, grace: float = 0.0) -> bool:
        """Whether SQLite must stop. Python also handles Ctrl-C during this call."""
        since = self._since
        now = 0.0 if since is None else time.monotonic() - since
        return self._timeout is not None and self._spent + now > self._timeout + grace

    def watch(self, said: str, stuck: Callable[[str], None]) -> None:
        """Until `done`: call `stuck` if SQLite is still computing after the time limit."""
        while not self.done.wait(GRACE / 2):
            if self._since is not None and self.is_over(GRACE):
                stuck(self._message(said))
                return

    def _message(self, said: str) -> str:
        return f"'{said}' took more than {self._timeout:g} s; allow more with --timeout"

    @contextmanager
    def running(self, said: str) -> Iterator[None]:
        since = self._since = time.monotonic()
        try:
            yield
        except sqlite3.OperationalError as error:
            if code_of(error) != sqlite3.SQLITE_INTERRUPT:
                raise
            if self.is_over():
                raise RegistryError(self._message(said)) from None
            raise KeyboardInterrupt from None  # SQLite swallowed it
        except sqlite3.DataError as error:
            if code_of(error) != sqlite3.SQLITE_TOOBIG:
                raise
            raise RegistryError(
                f"'{said}' makes or reads a text or blob of more than {LARGEST // 10**6} MB; a query may not do that"
            ) from None
        finally:
            self._since = None
            self._spent += time.monotonic() - since
