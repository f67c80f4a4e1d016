"""The open file: connecting, transactions, and SQLite's errors as one clear line each."""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from registry.migrations import migrate
from registry.records import from_row
from satm.errors import RegistryError

if TYPE_CHECKING:
    from registry.records import Row

_CAUSES = {
    "locked": "is in use by another process; try again when that has finished",
    "readonly": "cannot be written; name a file you can write with --registry",
    "unable to open": "cannot be opened; check the folder and its permissions, or name another file with --registry",
    "not a database": "is not a SQLite file; name another file with --registry",
    "malformed": "is damaged; restore a copy of it",
    "is full": "cannot grow: the disk is full; free some space",
    "FOREIGN KEY": "does not hold the set, run or recipe that a new row names; store that first",
}


def now() -> str:
    """UTC in ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """SQLite's errors, and ours from below, as a RegistryError that begins with the file's path."""
    try:
        yield
    except (sqlite3.Error, OverflowError) as error:
        text = " ".join(str(error).split())
        advice = next((advice for cause, advice in _CAUSES.items() if cause in text), f"refused: {text}")
        raise RegistryError(f"{path} {advice}") from error


class Store:
    """A connection to a registry file, at today's schema, with foreign keys enforced."""

    def __init__(self, path: Path, db: Any) -> None:
        self.path = path
        self._db = db  # sqlite_utils.Database

    @classmethod
    def open(
        cls, path: Path | str, *, must_exist: bool = False, read_only: bool = False, timeout: float = 30.0
    ) -> Self:
        """Open `path`, by default creating it, and bring it to today's schema.

        `timeout` is how many seconds a write waits for another process. Raises RegistryError, before anything is
        written, for a file that is missing (when it must exist or is only read), cannot be written, is no registry,
        or comes from a newer version.
        """
        path = Path(path).expanduser().absolute()
        _check(path, must_exist=must_exist or read_only, read_only=read_only)
        with explained(path):
            connection = _connect(path, "ro" if read_only else "rwc", timeout)
        try:
            from sqlite_utils import Database

            with explained(path):
                db = Database(connection, execute_plugins=False)
                db.execute("PRAGMA foreign_keys = ON")
                try:
                    migrate(db, read_only=read_only)
                except RegistryError as error:
                    raise RegistryError(f"{path} {error}") from None
            return cls(path, db)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Close the file; a transaction that is still open is undone."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def query(self, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Column names and rows of one SELECT, on a connection that cannot write.

        Raises RegistryError for SQL that is wrong, that would write, or that returns no rows.
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
            finally:
                connection.close()

    @contextmanager
    def _writing(self) -> Iterator[Any]:
        """The database in a transaction that holds the write lock from its start; undone on any error."""
        with explained(self.path):
            # A deferred BEGIN that reads first is refused at once, without waiting, when another process writes.
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.rollback()
                raise
            self._db.commit()

    def _rows(self, kind: type[Row], sql: str, values: Sequence[Any] = ()) -> list[Row]:
        with explained(self.path):
            return [from_row(kind, row) for row in self._db.query(sql, values)]

    def _one(self, kind: type[Row], table: str, row_id: str) -> Row:
        found = self._rows(kind, f"SELECT * FROM {table} WHERE id = ?", [row_id])
        if not found:
            raise RegistryError(f"{self.path} holds nothing under id '{row_id}' in {table}")
        return found[0]


def where(filters: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """A WHERE clause (or nothing) for the columns whose wanted value is not None."""
    wanted = {column: value for column, value in filters.items() if value is not None}
    clause = " AND ".join(f'"{column}" = ?' for column in wanted)
    return f"WHERE {clause}" if clause else "", list(wanted.values())


def _check(path: Path, *, must_exist: bool, read_only: bool) -> None:
    if path.is_dir():
        raise RegistryError(f"{path} is a folder; name a file in it with --registry")
    if not path.exists():
        if must_exist:
            raise RegistryError(f"there is no registry at {path}; `satm condense` makes one, --registry names another")
        if not path.parent.is_dir():
            raise RegistryError(f"the folder of {path} does not exist; make it first")
    # SQLite finds out at the first write only, which may be an hour's work later. Its journal needs the folder.
    needed = [path, path.parent] if path.exists() else [path.parent]
    effective = os.access in os.supports_effective_ids
    if not read_only and not all(os.access(place, os.W_OK, effective_ids=effective) for place in needed):
        raise RegistryError(f"{path} {_CAUSES['readonly']}")


def _connect(path: Path, mode: str, timeout: float) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True, timeout=timeout)
    try:
        connection.execute("SELECT sqrt(1.0)")
    except sqlite3.OperationalError:  # a SQLite built without its mathematics; the views need this one function
        connection.create_function("sqrt", 1, math.sqrt, deterministic=True)
    return connection


def _no_other_files(action: int, *_: str | None) -> int:
    # ATTACH and VACUUM INTO create files even from a read-only connection.
    return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_ATTACH else sqlite3.SQLITE_OK
