from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from registry import Registry, migrations
from satm.errors import RegistryBusy, RegistryError
from tests.registry.helpers import SET, result, start

TABLES = {"sets", "blobs", "runs", "metrics", "results", "recipes", "environments"}
VIEWS = {"summary", "leaderboard", "incremental"}


def schema(path: Path) -> dict[str, str]:
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    connection.close()
    return dict(rows)


def applied(path: Path) -> list[str]:
    with Registry.open(path, read_only=True) as registry:
        return [name for (name,) in registry.query("SELECT name FROM _sqlite_migrations ORDER BY id")[1]]


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder, without SQLite's index of a log, in which readers leave marks."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if not file.name.endswith("-shm")}


def test_a_new_file_gets_the_whole_schema(path: Path) -> None:
    Registry.open(path).close()
    assert schema(path).keys() >= TABLES | VIEWS
    assert applied(path) == [step.__name__ for step in migrations.STEPS]


def test_a_failing_migration_leaves_the_file_as_it_was(path: Path, monkeypatch: Any) -> None:
    def m998_good(db: Any) -> None:
        db.execute("CREATE TABLE good (x) ")

    def m999_bad(db: Any) -> None:
        db.execute("CREATE TABLE half (x)")
        db.execute("CREATE TABLE sets (x)")

    with Registry.open(path) as registry:
        registry.add_set(SET, run=None)
    before = path.read_bytes()
    monkeypatch.setattr(migrations, "STEPS", (*migrations.STEPS, m998_good, m999_bad))
    with pytest.raises(RegistryError, match="table sets already exists"):
        Registry.open(path)
    assert path.read_bytes() == before


def test_a_registry_from_a_newer_version_is_refused_untouched(path: Path, monkeypatch: Any) -> None:
    def m900_future(db: Any) -> None:
        db.execute("CREATE TABLE future (x)")

    monkeypatch.setattr(migrations, "STEPS", (*migrations.STEPS, m900_future))
    Registry.open(path).close()
    monkeypatch.undo()
    before = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(RegistryError, match=r"newer version \(m900_future"):
            Registry.open(path, read_only=read_only)
    assert path.read_bytes() == before


def test_processes_that_open_a_new_registry_at_once_all_succeed(path: Path) -> None:
    code = (
        "import sys, pathlib, time, sqlite_utils; from registry import Registry\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "Registry.open(sys.argv[1]).close()"
    )
    command = [sys.executable, "-c", code, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    openers = [subprocess.Popen(command, **pipes) for _ in range(3)]
    for opener in openers:
        assert opener.stdout.readline() == "ready\n"
    for opener in openers:
        opener.stdin.write("go\n")
        opener.stdin.flush()
    assert [(opener.communicate(timeout=60)[1], opener.returncode) for opener in openers] == [("", 0)] * 3
    assert applied(path) == [step.__name__ for step in migrations.STEPS]


@pytest.mark.parametrize("content", [b"hello", b"PAR1" * 5000])
@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_that_is_not_sqlite_is_refused_untouched(path: Path, content: bytes, read_only: bool) -> None:
    path.write_bytes(content)
    with pytest.raises(RegistryError, match="is not a SQLite file") as raised:
        Registry.open(path, read_only=read_only)
    assert str(path) in str(raised.value)
    assert path.read_bytes() == content


def test_a_database_of_something_else_is_refused_untouched(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE songs (title)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(RegistryError, match="not a registry"):
        Registry.open(path)
    assert path.read_bytes() == before


def test_a_registry_cut_short_is_refused(path: Path) -> None:
    with Registry.open(path) as registry:
        for _ in range(3):
            registry.add_set(SET, run=None)
    path.write_bytes(path.read_bytes()[:8192])
    with pytest.raises(RegistryError, match="is damaged"):
        Registry.open(path)


def test_a_path_that_cannot_be_a_registry_is_refused(path: Path) -> None:
    with pytest.raises(RegistryError, match="is a folder"):
        Registry.open(path.parent)
    with pytest.raises(RegistryError, match="does not exist"):
        Registry.open(path.parent / "missing" / "satm.db")
    for way in ({"must_exist": True}, {"read_only": True}):
        with pytest.raises(RegistryError, match="no registry at"):
            Registry.open(path, **way)
    assert list(path.parent.iterdir()) == []


def test_an_empty_file_becomes_a_registry_but_cannot_be_read(path: Path) -> None:
    path.touch()
    with pytest.raises(RegistryError, match="is empty"):
        Registry.open(path, read_only=True)
    with Registry.open(path, must_exist=True) as registry:
        assert registry.sets() == []


def test_a_registry_opened_for_reading_cannot_be_written(path: Path) -> None:
    with Registry.open(path) as registry:
        record = registry.add_set(SET, run=None)
    with Registry.open(path, read_only=True) as registry:
        assert registry.load("latest").id == record.id
        with pytest.raises(RegistryError, match="cannot be written"):
            registry.add_recipe("smoke", {})


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="file permissions are checked on POSIX only")
@pytest.mark.usefixtures("as_nobody")
def test_a_read_only_file_or_folder_is_found_out_when_opening(locked_away: Path) -> None:
    for name in ("satm.db", "new.db"):
        with pytest.raises(RegistryError, match="cannot be written"):
            Registry.open(locked_away / name)
    with Registry.open(locked_away / "satm.db", read_only=True) as registry:
        assert registry.sets() == []


def test_a_registry_in_use_says_so_and_nothing_is_half_written(path: Path) -> None:
    with Registry.open(path) as holder, Registry.open(path, timeout=0.05) as registry:
        with holder._writing(), pytest.raises(RegistryBusy, match="in use by another process"):
            registry.add_set(SET, run=None)
        assert registry.sets() == []
        assert registry.add_set(SET, run=None).version == 1


def test_an_error_undoes_the_transaction_and_the_registry_goes_on(registry: Registry) -> None:
    def interrupted() -> None:
        with registry._writing() as db:
            db["recipes"].insert({"id": "x", "name": "x", "config": "{}", "created": "now"})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert registry.query("SELECT count(*) FROM recipes")[1] == [(0,)]
    registry.add_recipe("smoke", {})


def test_query_gives_columns_and_rows(registry: Registry) -> None:
    registry.add_set(SET, run=None)
    columns, rows = registry.query("SELECT name, ipc AS budget, ipc AS budget FROM sets")
    assert columns == ["name", "budget", "budget"]
    assert rows == [("cifar10/ipc2/satm@1", 2, 2)]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELEC name\nFROM sets", 'near "SELEC": syntax error'),
        ("SELECT * FROM songs", "no such table: songs"),
        ("DELETE FROM sets", "'DELETE FROM sets' does more than read, and a query only reads"),
        ("DROP TABLE sets", "'DROP TABLE sets' does more than read, and a query only reads"),
        ("SELECT 1; DELETE FROM sets", "one statement at a time"),
        ("ATTACH '{folder}/other.db' AS other", "only reads"),
        ("VACUUM INTO '{folder}/other.db'", "only reads"),
        ("", "returns no rows"),
        ("PRAGMA query_only\n= OFF", "only reads"),
        ("PRAGMA journal_mode = DELETE", "only reads"),
        ("PRAGMA wal_checkpoint", "only reads"),
        ("BEGIN", "only reads"),
    ],
)
def test_query_refuses_what_is_wrong_or_would_write(registry: Registry, sql: str, message: str) -> None:
    registry.add_set(SET, run=None)
    before = contents(registry.path.parent)
    with pytest.raises(RegistryError, match=message) as raised:
        registry.query(sql.format(folder=registry.path.parent))
    assert "\n" not in str(raised.value)
    assert contents(registry.path.parent) == before


def test_a_path_with_odd_characters_works(tmp_path: Path) -> None:
    path = tmp_path / "a b?c#d%20é.db"
    with Registry.open(path) as registry:
        registry.add_set(SET, run=None)
        assert registry.query("SELECT count(*) FROM sets")[1] == [(1,)]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_listing_loads_no_torch(path: Path) -> None:
    with Registry.open(path) as registry:
        record = registry.add_set(SET, run=start(registry))
        registry.add_results([result(record.id, registry.add_recipe("smoke", {}))])
    code = (
        "import sys, registry, registry.provenance\n"
        "assert 'sqlite_utils' not in sys.modules\n"
        "registry.provenance.environment()\n"
        "with registry.Registry.open(sys.argv[1], read_only=True) as r:\n"
        "    print(len(r.sets()), len(r.runs()), len(r.results(set='latest')), len(r.summary()))\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("1 1 1 1\n", "")


def test_sqlite_without_its_mathematics_can_still_be_read(path: Path, monkeypatch: Any) -> None:
    class Plain(sqlite3.Connection):
        plain = True

        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            if self.plain and "sqrt(1.0)" in sql:
                self.plain = False
                raise sqlite3.OperationalError("no such function: sqrt")
            return super().execute(sql, *values)

        def create_function(self, name: str, *rest: Any, **options: Any) -> None:
            made.append(name)
            super().create_function(name, *rest, **options)

    made: list[str] = []
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, factory=Plain, **k))
    Registry.open(path).close()
    with Registry.open(path, read_only=True) as registry:
        assert registry.query("SELECT sqrt(9)")[1] == [(3.0,)]
    assert made.count("sqrt") == 2  # a migration adds a function of its own
