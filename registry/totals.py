"""Totals: the number of rows that satm has stored, and one checksum of them. They show if a row was changed or removed.

There is one total for each table and each owner of rows; for example, a run owns its metrics. The checksum of a total
is the sum of the checksums of the rows. So the order of the rows does not matter, and the time to add a row does not
depend on the size of the table.

SQLite triggers count each row that is written or removed. They exist only in the connections of satm, and the totals
are stored in the same transaction as the rows. If another program changes rows, the totals stay as they are, so they
differ from the rows, and this difference shows the change. The totals find accidents, but they are no protection
against a person who changes the file on purpose.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from typing import Any, TypeAlias

TABLES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "sets": ("name", ("id",)),  # the id is a hash of the whole set
    "recipes": ("id", ("id",)),
    "results": ("set_id", ("checksum",)),
    "result_history": ("set_id", ("checksum", "replaced")),
    "runs": ("id", ()),
    "environments": ("id", ()),
    "metrics": ("run_id", ()),
    "tests": ("id", ()),
    "predictions": ("set_id", ()),
}
"""For each table, the column that contains the owner of a row, and the columns that the checksum of a row covers.

() means that the checksum covers all columns.
"""

Total: TypeAlias = tuple[int, int]  # the number of rows, and the sum of their checksums
Key: TypeAlias = tuple[str, str]  # the table and the owner

_SIZE = 2**64  # sums of checksums are computed modulo this number


class Totals:
    """Counts the rows that a connection writes and removes.

    Call `begin` at the start of each transaction and `store` before its commit.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._changes: dict[Key, Total] = {}
        connection.create_function("satm_count", -1, self._count)
        # Without this setting, SQLite fires no trigger for a row that INSERT OR REPLACE removes.
        connection.execute("PRAGMA recursive_triggers = ON")
        for table, (owner, columns) in TABLES.items():
            covered = columns or _columns(connection, table)
            old, new = (
                f"SELECT satm_count('{table}', {sign}, "
                + ", ".join(f'{row}."{name}"' for name in (owner, *covered))
                + ");"
                for row, sign in (("OLD", -1), ("NEW", 1))
            )
            for event, body in (("INSERT", new), ("UPDATE", old + new), ("DELETE", old)):
                connection.execute(
                    f"CREATE TEMP TRIGGER count_{table}_{event} AFTER {event} ON main.{table} BEGIN {body} END"
                )

    def begin(self) -> None:
        """Forget the changes that were counted in an earlier transaction. If they are still here, it was undone."""
        self._changes.clear()

    def store(self) -> None:
        """Add the changes since `begin` to the stored totals."""
        for (table, owner), change in self._changes.items():
            stored = self._connection.execute(
                'SELECT "rows", "sum" FROM totals WHERE part = ? AND owner = ?', [table, owner]
            ).fetchone()
            _write(self._connection, (table, owner), _plus(_read(stored), change))
        self._changes.clear()

    def _count(self, table: str, sign: int, owner: Any, *values: Any) -> None:
        key = table, str(owner)
        self._changes[key] = _plus(self._changes.get(key, (0, 0)), (sign, sign * _checksum(values)))


def fill(connection: sqlite3.Connection) -> None:
    """Replace all totals by totals of the rows that are stored now."""
    connection.execute("DELETE FROM totals")
    for key, total in _counted(connection, None).items():
        _write(connection, key, total)


def differing(connection: sqlite3.Connection, owners: frozenset[str] | None = None) -> dict[Key, tuple[int, int]]:
    """Compare the stored totals with the rows, and return the totals that differ, by table and owner.

    The two numbers of each are the number of rows that satm has stored (from the total) and the number of rows that are
    in the table now. If the two are equal, the contents of a row were changed. If `owners` is given, only the totals of
    these owners are compared.
    """
    stored = {
        (str(table), str(owner)): _read(rest)
        for table, owner, *rest in connection.execute('SELECT part, owner, "rows", "sum" FROM totals')
        if owners is None or owner in owners
    }
    found = _counted(connection, owners)
    keys = sorted(stored.keys() | found.keys())
    pairs = {key: (stored.get(key, (0, 0)), found.get(key, (0, 0))) for key in keys}
    return {key: (before[0], now[0]) for key, (before, now) in pairs.items() if before != now}


def _counted(connection: sqlite3.Connection, owners: frozenset[str] | None) -> dict[Key, Total]:
    totals: dict[Key, Total] = {}
    for table, (owner, columns) in TABLES.items():
        names = ", ".join(f'"{name}"' for name in (owner, *(columns or _columns(connection, table))))
        only = "" if owners is None else f'WHERE "{owner}" IN ({", ".join("?" * len(owners))})'
        for of, *values in connection.execute(f"SELECT {names} FROM {table} {only}", sorted(owners or ())):
            key = table, str(of)
            totals[key] = _plus(totals.get(key, (0, 0)), (1, _checksum(values)))
    return totals


def _columns(connection: sqlite3.Connection, table: str) -> tuple[str, ...]:
    return tuple(row[1] for row in connection.execute(f"PRAGMA main.table_info({table})"))


def _write(connection: sqlite3.Connection, key: Key, total: Total) -> None:
    if total == (0, 0):
        connection.execute("DELETE FROM totals WHERE part = ? AND owner = ?", key)
    else:
        connection.execute("INSERT OR REPLACE INTO totals VALUES (?, ?, ?, ?)", [*key, total[0], f"{total[1]:016x}"])


def _read(row: Any) -> Total:
    if row is None:
        return 0, 0
    try:
        return int(row[0]), int(row[1], 16)
    except (TypeError, ValueError):  # in a damaged file the columns may hold anything
        return -1, 0  # no real total has a number of rows of -1, so this one is reported


def _plus(first: Total, second: Total) -> Total:
    return first[0] + second[0], (first[1] + second[1]) % _SIZE


def _checksum(values: Any) -> int:
    text = json.dumps(values, ensure_ascii=True, default=bytes.hex)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
