"""An open registry file: its connection, its transactions, and SQLite's errors, each as one clear line.

`Store` depends on no table. The classes for sets, runs and results build on its three methods: `_rows` and `_one` read
records, and `_writing` opens a transaction. `registry.migrations` makes the tables.
"""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from registry.migrations import database, migrate
from registry.records import from_row
from satm.errors import RegistryError

if TYPE_CHECKING:
    from registry.records import Row

# The advice for an error of SQLite, by a part of its message.
_ADVICE = {
    "locked": "is in use by another process; try again when that has finished",
    "readonly": "cannot be written; name a file you can write with --registry",
    "unable to open": "cannot be opened; check the folder and its permissions, or name another file with --registry",
    "not a database": "is not a SQLite file; name another file with --registry",
    "malformed": "is damaged; restore a copy of it",
    "is full": "cannot grow: the disk is full; free some space",
    "FOREIGN KEY": "does not hold the set, run or recipe that a new row names; store that first",
}


def now() -> str:
    """The time in UTC as ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an error of SQLite into a RegistryError that begins with the file's path."""
    try:
        yield
    except (sqlite3.Error, OverflowError) as error:
        text = " ".join(str(error).split())
        advice = next((advice for part, advice in _ADVICE.items() if part in text), f"refused: {text}")
        raise RegistryError(f"{path} {advice}") from error


class Store:
    """A connection to a registry file with the newest schema. SQLite enforces foreign keys."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    @cached_property
    def _db(self) -> Any:
        """The sqlite_utils.Database that writes. It takes longer to import than most commands take to read."""
        return database(self._connection)

    @classmethod
    def open(
        cls, path: Path | str, *, must_exist: bool = False, read_only: bool = False, timeout: float = 30.0
    ) -> Self:
        """Open the registry at `path` and bring it to the newest schema.

        Args:
            path: the SQLite file.
            must_exist: raise an error if there is no file, instead of making one.
            read_only: do not write; then the file must exist too.
            timeout: seconds that a write waits for another process.

        Raises RegistryError, before anything is written, if the file is missing, cannot be written, is no registry or
        comes from a newer version.
        """
        path = Path(path).expanduser().absolute()
        _check(path, must_exist=must_exist or read_only, read_only=read_only)
        with explained(path):
            connection = _connect(path, "ro" if read_only else "rwc", timeout)
        try:
            with explained(path):
                connection.execute("PRAGMA foreign_keys = ON")
                try:
                    migrate(connection, read_only=read_only)
                except RegistryError as error:
                    raise RegistryError(f"{path} {error}") from None
            return cls(path, connection)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Close the file; an open transaction is undone."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def query(self, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Column names and rows of one SELECT, on a connection that cannot write.

        Raises RegistryError if the SQL is wrong, would write, or is no query that returns rows.
        """
        with explained(self.path):
            connection = _connect(self.path, "ro", 30.0)
            try:
                connection.execute("PRAGMA query_only = ON")
                connection.set_authorizer(_no_other_files)
                cursor = connection.execute(sql)
                if cursor.description is None:
                    raise RegistryError(f"'{' '.join(sql.split())}' returns no rows; expected a SELECT")
                return [column[0] for column in cursor.description], cursor.fetchall()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_READONLY:  # the extended codes too
                    raise
                raise RegistryError(f"'{' '.join(sql.split())}' would write, and a query only reads") from error
            finally:
                connection.close()

    @contextmanager
    def _writing(self) -> Iterator[Any]:
        """The database in a transaction. It holds the write lock from its start, and any error undoes it."""
        with explained(self.path):
            # After a deferred BEGIN, a read and then a write fail at once, without waiting, if another process writes.
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.rollback()
                raise
            self._db.commit()

    def _rows(self, kind: type[Row], sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """The rows of a SELECT as records of `kind`."""
        with explained(self.path):
            return [from_row(kind, row) for row in self._mappings(sql, values)]

    def _mappings(self, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """The rows of a SELECT by column."""
        with explained(self.path):
            cursor = self._connection.execute(sql, values)
            columns = [column[0] for column in cursor.description]
            return [dict(zip(columns, row, strict=True)) for row in cursor]

    def _tuples(self, sql: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of a SELECT, one at a time."""
        with explained(self.path):
            yield from self._connection.execute(sql, values)

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


def _check(path: Path, *, must_exist: bool, read_only: bool) -> None:
    """Raise RegistryError if `path` cannot be opened in this way."""
    if path.is_dir():
        raise RegistryError(f"{path} is a folder; name a file in it with --registry")
    if not path.exists():
        if must_exist:
            raise RegistryError(f"there is no registry at {path}; `satm condense` makes one, --registry names another")
        if not path.parent.is_dir():
            raise RegistryError(f"the folder of {path} does not exist; make it first")
    # SQLite notices this only at the first write, perhaps after an hour of work. Its journal needs the folder.
    needed = [path, path.parent] if path.exists() else [path.parent]
    effective = os.access in os.supports_effective_ids
    if not read_only and not all(os.access(place, os.W_OK, effective_ids=effective) for place in needed):
        raise RegistryError(f"{path} {_ADVICE['readonly']}")


def _connect(path: Path, mode: str, timeout: float) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True, timeout=timeout)
    try:
        connection.execute("SELECT sqrt(1.0)")
    except sqlite3.OperationalError:  # SQLite was built without mathematical functions; the views need this one
        connection.create_function("sqrt", 1, math.sqrt, deterministic=True)
    return connection


def _no_other_files(action: int, *_: str | None) -> int:
    # ATTACH and VACUUM INTO could make files, even on a read-only connection.
    return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_ATTACH else sqlite3.SQLITE_OK
