"""Runs a user's SQL query on a registry. The query can only read, gives its rows one by one, and can be stopped."""

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

# The number of SQLite instructions between two checks of the time limit. So many instructions usually take well under a
# millisecond.
CHECK_EVERY = 10_000

# The largest number of bytes of one text or blob in a query. SQLite cannot be interrupted while it builds a large text
# or blob.
LARGEST = 100_000_000
GRACE = 0.5  # seconds; if SQLite still computes this long after the time limit, it cannot be interrupted

# The actions that SQLite's authorizer reports for a statement that only reads.
READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
PRAGMAS = {  # the pragmas that change nothing
    *("table_list", "table_info", "table_xinfo", "index_list", "index_info", "index_xinfo", "foreign_key_list"),
    *("foreign_key_check", "integrity_check", "quick_check", "database_list", "function_list", "compile_options"),
}


@dataclass(frozen=True)
class Selection:
    """The result of one SELECT. SQLite computes the rows only while they are read from `rows`."""

    columns: list[str]
    rows: Iterator[tuple[Any, ...]]


@contextmanager
def selecting(
    connection: sqlite3.Connection, sql: str, *, timeout: float | None, stuck: Callable[[str], None] | None = None
) -> Iterator[Selection]:
    """Run the query `sql`. The result can be read while the context lasts.

    Args:
        timeout: the number of seconds for which SQLite may compute; None: no limit.
        stuck: called in another thread if SQLite does not stop after the time limit. SQLite checks the limit only
            between two of its steps, and one step may take long, such as the search for one large text in another. The
            argument of `stuck` is the message of the error that cannot be raised. `stuck` may end the process.

    Raises RegistryError if the SQL does more than read, returns no rows or takes too long. Raises KeyboardInterrupt on
    Ctrl-C, and sqlite3.Error if the SQL is wrong.
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
        # If the authorizer denies a VACUUM, the error has no code, so its message is checked too.
        if code_of(error) != sqlite3.SQLITE_AUTH and "authoriz" not in str(error):
            raise
        raise RegistryError(f"'{said}' does more than read, and a query only reads") from error
    finally:
        connection.set_authorizer(None)


def _only_reading(action: int, name: str | None, *_: str | None) -> int:
    """Allow the parts of a statement that only read, and deny all others. SQLite calls this function for each part.

    ATTACH and VACUUM INTO are denied too, because they can make other files.
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
    """Measures for how many seconds SQLite computes, and compares them with the time limit.

    The time between two rows, in which the reader of the rows works, is not included.
    """

    def __init__(self, timeout: float | None) -> None:
        self._timeout = timeout
        self._spent = 0.0
        self._since: float | None = None  # the time at which SQLite began to compute; None while it does not compute
        self.done = threading.Event()  # is set at the end of the query, and ends `watch`

    def is_over(self, grace: float = 0.0) -> bool:
        """Return whether SQLite has computed longer than the time limit and `grace` seconds, so that it must stop.

        SQLite calls this method again and again while it computes. During such a call Python can also react to Ctrl-C.
        """
        since = self._since
        now = 0.0 if since is None else time.monotonic() - since
        return self._timeout is not None and self._spent + now > self._timeout + grace

    def watch(self, said: str, stuck: Callable[[str], None]) -> None:
        """Call `stuck` if SQLite still computes `GRACE` seconds after the time limit. Return when `done` is set."""
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
            # The time limit is not over, so Ctrl-C raised KeyboardInterrupt in `is_over`. This stopped SQLite, which
            # reports an error of its own instead.
            raise KeyboardInterrupt from None
        except sqlite3.DataError as error:
            if code_of(error) != sqlite3.SQLITE_TOOBIG:
                raise
            raise RegistryError(
                f"'{said}' makes or reads a text or blob of more than {LARGEST // 10**6} MB; a query may not do that"
            ) from None
        finally:
            self._since = None
            self._spent += time.monotonic() - since
