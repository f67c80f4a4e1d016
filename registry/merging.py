"""Copies a registry file, and takes the contents of another one into it."""

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

_KEY = COLUMNS[: COLUMNS.index("metric") + 1]
_SAME_KEY = " AND ".join(f"ours.{name} = theirs.{name}" for name in _KEY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What `Registry.merge` took from another registry."""

    sets: tuple[tuple[str, str], ...]  # new sets: their name there, their name here
    runs: int
    results: int
    differing: int  # results that both have with different numbers: ours stay, theirs are in the history
    tags: tuple[str, ...]  # tags that name another set here, and stay as they are here


class Merging(Runs):
    """The part of the registry that copies and merges whole files."""

    def backup(self, to: Path | str) -> None:
        """Write a copy of the registry as it is at one moment, even while other processes write to it.

        Raises RegistryError if there is something at `to`, or if the copy cannot be written; then nothing is there.
        """
        to = _named(to)
        if os.path.lexists(to):
            raise RegistryError(f"{to} is there already; name a new file for the backup")

        def copy(file: Path) -> None:
            # As it is, so an older file keeps its schema.
            with explained(self.path):
                source, frozen = connect_for_reading(self.path, PATIENCE)
            with closing(source):
                _copy(source, self.path, file, to)
                if frozen is not None:
                    check_unchanged(self.path, frozen)

        write_atomically(to, copy, otherwise="name another file")

    def merge(self, other: Path | str) -> Merged:
        """Take all sets, runs, results, predictions and tags of the registry `other` into this one: all, or nothing.

        A set with the same id is the same set. Another set gets the next version number that is free here. If both have
        a result with different numbers, ours stays and theirs goes to `result_history`. A run that both have keeps the
        later record. The same merge again changes nothing. A stopped run of `other` can be continued here.

        `other` is only read: what is merged is a temporary copy of it, with the newest schema. Raises RegistryError if
        it is this file, if it is damaged, or if another program has changed its rows.
        """
        other = _named(other)
        if other.exists() and other.samefile(self.path):
            raise RegistryError(f"{other} is this registry; name another one to merge into it")
        with _whole_copy(other) as copy, self._attached(copy, other), self._writing() as db:
            db.execute("PRAGMA defer_foreign_keys = ON")  # runs name sets, and sets name runs
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
        """Take the runs and their metrics; the number of new runs."""
        names = [row[1] for row in db.execute("PRAGMA main.table_info(runs)").fetchall() if row[1] != "seq"]
        columns = ", ".join(f'"{name}"' for name in names)
        there = "FROM other.runs AS theirs WHERE id NOT IN (SELECT id FROM main.runs)"
        # A run that is done here stays so, even if another copy of it went on later.
        later = "WHERE runs.id = theirs.id AND runs.updated < theirs.updated AND NOT (runs.status = 'done' AND "
        later += "theirs.status != 'done')"
        count = int(db.execute(f"SELECT count(*) {there}").fetchone()[0])
        replaced = f"SELECT theirs.id FROM other.runs AS theirs, main.runs {later}"
        db.execute(f"DELETE FROM main.metrics WHERE run_id IN ({replaced})")
        for wanted in (f"SELECT id {there}", replaced):
            db.execute(f"INSERT OR REPLACE INTO main.metrics SELECT * FROM other.metrics WHERE run_id IN ({wanted})")
        changes = ", ".join(f'"{name}" = theirs."{name}"' for name in names if name not in ("id", "key"))
        db.execute(f"UPDATE main.runs SET {changes} FROM other.runs AS theirs {later}")
        # Two copies of one registry may both hold an open run of one key, but a registry holds only one.
        open_here = """SELECT "key" FROM main.runs WHERE status != 'done'"""
        taken = f"""CASE WHEN status != 'done' AND "key" IN ({open_here}) THEN "key" || '+' || id ELSE "key" END"""
        values = columns.replace('"key"', taken)
        db.execute(f"INSERT INTO main.runs ({columns}) SELECT {values} {there} ORDER BY seq")
        return count

    def _merge_sets(self, db: Any) -> Iterator[tuple[str, str]]:
        """Take the sets that are not here; yield the name of each there and here."""
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
        """Take the results and their history; the numbers of new results, and of results that differ from ours."""
        names = ", ".join(COLUMNS)
        ours = f"SELECT 1 FROM main.results AS ours WHERE {_SAME_KEY}"
        # INSERT OR IGNORE would call the trigger that keeps the history.
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
        """Take the tags that are free here; the others that name another set."""
        sql = (
            "SELECT theirs.name FROM other.tags AS theirs JOIN main.tags AS ours USING (name) "
            "WHERE ours.set_id != theirs.set_id ORDER BY 1"
        )
        clash = tuple(name for (name,) in db.execute(sql).fetchall())
        db.execute("INSERT OR IGNORE INTO main.tags SELECT * FROM other.tags")
        return clash


@contextmanager
def _whole_copy(other: Path) -> Iterator[Path]:
    """A temporary copy of the registry `other`, with the newest schema. Raises RegistryError if its rows are wrong."""
    with tempfile.TemporaryDirectory(prefix="satm-merge-") as folder, _Source.open(other, read_only=True) as source:
        copy = Path(folder) / "copy.db"
        with source.whole() as connection:
            _copy(connection, other, copy, copy)
        yield copy


class _Source(Verifying):
    """A registry that is copied."""

    @contextmanager
    def whole(self) -> Iterator[sqlite3.Connection]:
        """The connection, to read from at one moment. Raises RegistryError if a row was changed or removed."""
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
    """The absolute path of a file that the user names. Raises RegistryError for an empty name."""
    if not str(file) or Path(file) == Path():
        raise RegistryError(f"'{file}' is no file; name one")
    return absolute(file)


def _copy(source: sqlite3.Connection, path: Path, file: Path, to: Path) -> None:
    """Copy a database in one step, so that the copy is the database at one moment.

    `path` and `to` are the names of both for an error.
    """
    make_file(file)
    try:
        with closing(sqlite3.connect(file)) as target:
            source.backup(target)
    except sqlite3.Error as error:
        # Only the copy is written, so an error of writing is about it.
        reading = any(part in str(error) for part in ("locked", "malformed", "not a database"))
        with explained(path if reading else to):
            raise error


def _merge_predictions(db: Any) -> None:
    """Take the predictions that are not here, if the accuracy of their network here is the one there.

    Predictions beside the accuracy of another network would contradict it.
    """
    network = ("set_id", "protocol", "architecture", "memory", "recipe_id", "steps", "repeat", "step")
    same = " AND ".join(f"ours.{name} = new.{name}" for name in network)
    there = f"SELECT 1 FROM other.results AS theirs WHERE {_SAME_KEY} AND ours.checksum IS theirs.checksum"
    apart = f"SELECT 1 FROM main.results AS ours WHERE {same} AND metric = 'accuracy' AND NOT EXISTS ({there})"
    db.execute(
        f"INSERT OR IGNORE INTO main.predictions SELECT * FROM other.predictions AS new WHERE NOT EXISTS ({apart})"
    )


def _merge_blobs(db: Any, other: Path) -> None:
    """Take the blobs that are not here. Raises RegistryError for one that is damaged."""
    columns = ", ".join(BlobRow.__slots__)
    new = f"SELECT {columns} FROM other.blobs WHERE sha256 NOT IN (SELECT sha256 FROM main.blobs)"
    for values in db.execute(new):
        blob = BlobRow(**dict(zip(BlobRow.__slots__, values, strict=True)))
        try:
            check(blob)
        except RegistryError as error:
            raise RegistryError(f"{other}: {error}") from None
        db["blobs"].insert(to_row(blob))
