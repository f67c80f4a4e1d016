"""Copies a registry file, and merges the contents of another registry file into it.

In the SQL here, `main` is this registry and `other` is the registry that is merged into it. `ours` is a row of `main`,
and `theirs` is a row of `other`.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.blobs import check
from registry.checksums import COLUMNS
from registry.connection import connect_for_reading, explained, make_file
from registry.records import BlobRow, to_row
from registry.runs import Runs
from registry.store import PATIENCE, absolute, check_unchanged, now
from registry.verifying import Verifying
from satm.errors import RegistryError
from satm.home import write_atomically

_KEY = COLUMNS[: COLUMNS.index("metric") + 1]  # the columns that identify a result row
_SAME_KEY = " AND ".join(f"ours.{name} = theirs.{name}" for name in _KEY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What `Registry.merge` has copied from another registry into this one."""

    sets: tuple[tuple[str, str], ...]  # for each new set, its name in the other registry and its name in this one
    runs: int  # the number of new runs
    results: int  # the number of new results
    # The number of results that are in both registries with different numbers. This registry keeps its own numbers, and
    # the other numbers are stored in `result_history`.
    differing: int
    tags: tuple[str, ...]  # the tags that name different sets in the two registries; they are not changed here


class Merging(Runs):
    """The part of the registry that copies and merges whole files."""

    def backup(self, to: Path | str) -> None:
        """Write a copy of the registry to the file `to`.

        The copy shows the registry at one moment, even while other processes write to it. Raises RegistryError if `to`
        already exists, or if the copy cannot be written. In the second case no file remains at `to`.
        """
        to = _named(to)
        if os.path.lexists(to):
            raise RegistryError(f"{to} is there already; name a new file for the backup")

        def copy(file: Path) -> None:
            # The file is copied without a migration, so a registry of an older version keeps its schema.
            with explained(self.path):
                source, frozen = connect_for_reading(self.path, PATIENCE)
            with closing(source):
                _copy(source, self.path, file, to)
                if frozen is not None:
                    check_unchanged(self.path, frozen)

        write_atomically(to, copy, otherwise="name another file")

    def merge(self, other: Path | str) -> Merged:
        """Copy all sets, runs, results, predictions and tags of the registry `other` into this one.

        If an error occurs, nothing is copied. Sets with the same id are the same set and are not copied again. A new
        set gets the next version number that is free in this registry. If both registries have the same result (of the
        same set, recipe, repeat …) with different numbers, this registry keeps its own number, and the other number is
        stored in `result_history`. If both have the same run, the record that was updated last is kept; but a finished
        run here never becomes unfinished. A second merge of the same file changes nothing. A stopped run of `other` can
        be continued here.

        `other` is only read: a temporary copy of it gets the newest schema and is merged. Raises RegistryError if
        `other` is this file, if it is damaged, or if another program has changed its rows.
        """
        other = _named(other)
        if other.exists() and other.samefile(self.path):
            raise RegistryError(f"{other} is this registry; name another one to merge into it")
        with _whole_copy(other) as copy, self._attached(copy, other), self._writing() as db:
            # Runs refer to sets and sets refer to runs, so foreign keys are checked only at the commit.
            db.execute("PRAGMA defer_foreign_keys = ON")
            for table in ("environments", "recipes", "tests"):
                db.execute(f"INSERT OR IGNORE INTO main.{table} SELECT * FROM other.{table}")
            _merge_blobs(db, other)
            runs = self._merge_runs(db)
            sets = tuple(self._merge_sets(db))
            db.execute("INSERT OR IGNORE INTO main.set_groups SELECT * FROM other.set_groups")
            results, differing = self._merge_results(db)
            _merge_predictions(db)
            tags = self._merge_tags(db)
            columns = "uuid, former_path"
            db.execute(f"INSERT OR IGNORE INTO main.identities ({columns}) SELECT {columns} FROM other.identities")
        return Merged(sets=sets, runs=runs, results=results, differing=differing, tags=tags)

    @contextmanager
    def _attached(self, copy: Path, other: Path) -> Iterator[None]:
        with explained(other):
            self._db.execute("ATTACH ? AS other", [f"{copy.as_uri()}?mode=ro"])
        try:
            yield
        finally:
            self._db.execute("DETACH other")

    def _merge_runs(self, db: Any) -> int:
        """Copy the runs and their metrics. Returns the number of new runs."""
        names = [row[1] for row in db.execute("PRAGMA main.table_info(runs)").fetchall() if row[1] != "seq"]
        columns = ", ".join(f'"{name}"' for name in names)
        there = "FROM other.runs AS theirs WHERE id NOT IN (SELECT id FROM main.runs)"
        # A run that is done here stays done, even if a copy of it in the other registry was continued later.
        later = "WHERE runs.id = theirs.id AND runs.updated < theirs.updated AND NOT (runs.status = 'done' AND "
        later += "theirs.status != 'done')"
        count = int(db.execute(f"SELECT count(*) {there}").fetchone()[0])
        replaced = f"SELECT theirs.id FROM other.runs AS theirs, main.runs {later}"
        db.execute(f"DELETE FROM main.metrics WHERE run_id IN ({replaced})")
        for wanted in (f"SELECT id {there}", replaced):
            db.execute(f"INSERT OR REPLACE INTO main.metrics SELECT * FROM other.metrics WHERE run_id IN ({wanted})")
        changes = ", ".join(f'"{name}" = theirs."{name}"' for name in names if name not in ("id", "key"))
        db.execute(f"UPDATE main.runs SET {changes} FROM other.runs AS theirs {later}")
        # Each of two copies of a registry may contain an unfinished run with the same key. One registry can contain
        # only one such run, so the key of the new run gets its id as an ending.
        open_here = """SELECT "key" FROM main.runs WHERE status != 'done'"""
        taken = f"""CASE WHEN status != 'done' AND "key" IN ({open_here}) THEN "key" || '+' || id ELSE "key" END"""
        values = columns.replace('"key"', taken)
        db.execute(f"INSERT INTO main.runs ({columns}) SELECT {values} {there} ORDER BY seq")
        return count

    def _merge_sets(self, db: Any) -> Iterator[tuple[str, str]]:
        """Copy the sets that this registry does not have.

        Yields for each set its name in the other registry and its name in this one.
        """
        rows = db.query("SELECT * FROM other.sets WHERE id NOT IN (SELECT id FROM main.sets) ORDER BY seq")
        for row in list(rows):
            path = [row["dataset"], row["ipc"], row["method"]]
            sql = "SELECT coalesce(max(version), 0) FROM main.sets WHERE dataset = ? AND ipc = ? AND method = ?"
            version = 1 + db.execute(sql, path).fetchone()[0]
            name = f"{row['name'].rpartition('@')[0]}@{version}"
            new = {**row, "name": name, "version": version}
            del new["seq"]
            db["sets"].insert(new)
            yield row["name"], name

    def _merge_results(self, db: Any) -> tuple[int, int]:
        """Copy the results and their history.

        Returns the number of new results, and the number of results that differ from ours.
        """
        names = ", ".join(COLUMNS)
        ours = f"SELECT 1 FROM main.results AS ours WHERE {_SAME_KEY}"
        # INSERT OR IGNORE is not used: it fires the trigger that writes the history even for a row that it ignores.
        new = f"FROM other.results AS theirs WHERE NOT EXISTS ({ours})"
        count = int(db.execute(f"SELECT count(*) {new}").fetchone()[0])
        db.execute(f"INSERT INTO main.results ({names}, checksum) SELECT {names}, checksum {new}")
        differ = f"FROM other.results AS theirs WHERE EXISTS ({ours} AND ours.checksum IS NOT theirs.checksum)"
        differing = int(db.execute(f"SELECT count(*) {differ}").fetchone()[0])
        kept = f"SELECT 1 FROM main.result_history AS ours WHERE {_SAME_KEY} AND ours.checksum IS theirs.checksum"
        into = f"INSERT INTO main.result_history ({names}, checksum, replaced)"
        db.execute(f"{into} SELECT {names}, checksum, ? {differ} AND NOT EXISTS ({kept})", [now()])
        history = f"FROM other.result_history AS theirs WHERE NOT EXISTS ({kept}) ORDER BY seq"
        db.execute(f"{into} SELECT {names}, checksum, replaced {history}")
        return count, differing

    def _merge_tags(self, db: Any) -> tuple[str, ...]:
        """Copy the tags that this registry does not have. Returns the tags that name another set here."""
        sql = (
            "SELECT theirs.name FROM other.tags AS theirs JOIN main.tags AS ours USING (name) "
            "WHERE ours.set_id != theirs.set_id ORDER BY 1"
        )
        clash = tuple(name for (name,) in db.execute(sql).fetchall())
        db.execute("INSERT OR IGNORE INTO main.tags SELECT * FROM other.tags")
        return clash


@contextmanager
def _whole_copy(other: Path) -> Iterator[Path]:
    """Make a temporary copy of the registry `other`, with the newest schema, and yield its path.

    Raises RegistryError if another program has changed rows of `other`.
    """
    with tempfile.TemporaryDirectory(prefix="satm-merge-") as folder, _Source.open(other, read_only=True) as source:
        copy = Path(folder) / "copy.db"
        with source.whole() as connection:
            _copy(connection, other, copy, copy)
        yield copy


class _Source(Verifying):
    """The registry that is merged into another one. It is opened only to check it and to copy it."""

    @contextmanager
    def whole(self) -> Iterator[sqlite3.Connection]:
        """Check all rows and yield the connection. All that is read in the context is from the same moment.

        Raises RegistryError if another program has changed or removed a row.
        """
        with self._snapshot():
            problems = [*self.differing_totals(), *self.damaged_results()]
            if problems:
                more = (
                    f" ({len(problems)} such lines: satm registry verify --registry {self.path})"
                    if problems[1:]
                    else ""
                )
                raise RegistryError(f"{self.path}: {problems[0]}{more}")
            yield self._connection
            self._check_frozen()


def _named(file: Path | str) -> Path:
    """Return the absolute path of a file that the user names. Raises RegistryError for an empty name."""
    if not str(file) or Path(file) == Path():
        raise RegistryError(f"'{file}' is no file; name one")
    return absolute(file)


def _copy(source: sqlite3.Connection, path: Path, file: Path, to: Path) -> None:
    """Copy a database to `file` in one step, so that the copy shows the database at one moment.

    `path` and `to` are the names of the database and of the copy in error messages.
    """
    make_file(file)
    try:
        with closing(sqlite3.connect(file)) as target:
            source.backup(target)
    except sqlite3.Error as error:
        # SQLite does not say which of the two files an error is about. These three errors come from reading the source.
        # All others come from writing, and only the copy is written.
        reading = any(part in str(error) for part in ("locked", "malformed", "not a database"))
        with explained(path if reading else to):
            raise error


def _merge_predictions(db: Any) -> None:
    """Copy the predictions that this registry does not have.

    If this registry has an accuracy of the same network, the predictions are copied only if the other registry has the
    same accuracy. Otherwise the predictions would contradict the accuracy.
    """
    network = ("set_id", "protocol", "architecture", "memory", "recipe_id", "steps", "repeat", "step")
    same = " AND ".join(f"ours.{name} = new.{name}" for name in network)
    there = f"SELECT 1 FROM other.results AS theirs WHERE {_SAME_KEY} AND ours.checksum IS theirs.checksum"
    apart = f"SELECT 1 FROM main.results AS ours WHERE {same} AND metric = 'accuracy' AND NOT EXISTS ({there})"
    db.execute(
        f"INSERT OR IGNORE INTO main.predictions SELECT * FROM other.predictions AS new WHERE NOT EXISTS ({apart})"
    )


def _merge_blobs(db: Any, other: Path) -> None:
    """Copy the blobs that this registry does not have. Raises RegistryError if one of them is damaged."""
    columns = ", ".join(BlobRow.__slots__)
    new = f"SELECT {columns} FROM other.blobs WHERE sha256 NOT IN (SELECT sha256 FROM main.blobs)"
    for values in db.execute(new):
        blob = BlobRow(**dict(zip(BlobRow.__slots__, values, strict=True)))
        try:
            check(blob)
        except RegistryError as error:
            raise RegistryError(f"{other}: {error}") from None
        db["blobs"].insert(to_row(blob))
