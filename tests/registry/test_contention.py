"""Several processes on one registry: readers and the writer do not wait for each other, and no write is lost."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from registry import Registry, store
from registry.connection import connect_for_reading
from satm.errors import Interrupted, RegistryBusy, RegistryError
from tests.registry.helpers import SET
from tests.registry.kept import unpack


def count(registry: Registry) -> int:
    return int(registry.query("SELECT count(*) FROM recipes")[1][0][0])


def test_a_commit_goes_to_a_log_and_is_on_the_disk_when_the_call_returns(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[int, bool]] = []
    sync = os.fdatasync

    def seen(file: int) -> None:
        with sqlite3.connect(path, timeout=0) as other:
            other.execute("BEGIN IMMEDIATE")  # the write lock is free while we wait for the disk
        synced.append((os.fstat(file).st_ino, other.execute("SELECT count(*) FROM recipes").fetchone()[0]))
        other.close()
        sync(file)

    monkeypatch.setattr(os, "fdatasync", seen)
    with Registry.open(path) as registry:
        assert registry._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        for name in ("first", "second"):
            registry.add_recipe(name, {})
        log = path.with_name("satm.db-wal").stat().st_ino
    assert synced == [(log, 1), (log, 2)]
    assert [file.name for file in path.parent.iterdir()] == ["satm.db"]


@pytest.mark.skipif(os.name == "nt", reason="modes are of POSIX")
@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077])
def test_modes_follow_the_umask(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with Registry.open(path) as registry:
            registry.add_recipe("first", {})
            registry.backup(path.with_name("copy"))
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("satm.db", "satm.db-wal", "satm.db-shm", "copy"), 0o666 & ~umask)


def test_a_reader_sees_the_last_commit_while_another_writes_and_leaves_no_files(path: Path) -> None:
    with Registry.open(path) as writer:
        writer.add_recipe("first", {})
        with writer._writing() as db:
            db.execute("INSERT INTO recipes VALUES ('x', 'second', '{}', 'now')")
            with Registry.open(path, read_only=True, timeout=0.0) as reader:
                assert count(reader) == 1
    with Registry.open(path, read_only=True) as reader:
        assert count(reader) == 2
    assert [file.name for file in path.parent.iterdir()] == ["satm.db"]


def test_an_open_query_does_not_stop_a_writer(path: Path) -> None:
    with Registry.open(path, timeout=0.0) as writer:
        for name in ("a", "b"):
            writer.add_recipe(name, {})
        with Registry.open(path, read_only=True) as reader, reader.select("SELECT name FROM recipes") as found:
            assert next(found.rows) is not None
            writer.add_recipe("c", {})
            assert len(list(found.rows)) == 1  # what was there when the query began
        assert count(writer) == 3


def test_a_write_waits_as_long_as_it_takes_says_so_and_can_be_given_up(path: Path) -> None:
    waits: list[float] = []

    def waiting(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 5:
            raise Interrupted("stopped")

    with Registry.open(path) as holder, Registry.open(path, timeout=None, waiting=waiting) as registry:
        with holder._writing(), pytest.raises(Interrupted):
            registry.add_recipe("smoke", {})
        assert waits == sorted(waits)
        assert len(waits) == 5
        registry.add_recipe("smoke", {})
        assert count(registry) == 1


def test_a_write_that_need_not_wait_returns_at_once(path: Path) -> None:
    with Registry.open(path) as holder, Registry.open(path, timeout=None) as registry:
        impatient = registry._writing(wait=False)
        with holder._writing(), pytest.raises(RegistryBusy), impatient:
            pass


def test_processes_that_write_at_once_lose_nothing(path: Path) -> None:
    code = (
        "import sys; from registry import Registry\n"
        "with Registry.open(sys.argv[1]) as registry:\n"
        "    for i in range(60):\n"
        "        with registry._writing() as db:\n"
        "            db['recipes'].insert({'id': f'{sys.argv[2]}-{i}', 'name': 'x', 'config': '{}', 'created': 'now'})"
    )
    Registry.open(path).close()
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(path), str(n)], stderr=subprocess.PIPE, text=True)
        for n in range(3)
    ]
    assert [(writer.communicate(timeout=120)[1], writer.returncode) for writer in writers] == [("", 0)] * 3
    with Registry.open(path, read_only=True) as registry:
        assert count(registry) == 180


def test_a_registry_without_a_log_gets_one_as_soon_as_nobody_reads_it(path: Path) -> None:
    Registry.open(path).close()
    with sqlite3.connect(path) as old:
        assert old.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
        old.execute("BEGIN")
        old.execute("SELECT count(*) FROM sets").fetchall()
        with Registry.open(path, timeout=0.05) as registry:  # an older version of satm reads
            assert registry._db.execute("PRAGMA journal_mode").fetchone() == ("delete",)
            assert registry._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL: SQLite waits for the disk
    old.close()
    with Registry.open(path) as registry:
        assert registry._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_log_that_is_gone_is_said(path: Path) -> None:
    with Registry.open(path) as registry:
        registry.add_recipe("first", {})
        path.with_name("satm.db-wal").unlink()
        with pytest.raises(RegistryError, match="-wal was deleted"):
            registry.add_recipe("second", {})


@pytest.mark.parametrize(("number", "advice"), [(errno.EACCES, "allow yourself"), (errno.EIO, "check the disk")])
def test_a_log_that_cannot_be_synced_names_the_cause(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    def fails(file: int) -> None:
        raise OSError(number, os.strerror(number))

    with Registry.open(path) as registry:
        monkeypatch.setattr(os, "fdatasync", fails)
        with pytest.raises(RegistryError, match=rf"-wal cannot be written: {os.strerror(number)}; {advice}"):
            registry.add_recipe("first", {})


@pytest.mark.parametrize("replaced", [False, True])
def test_nothing_is_written_to_a_file_that_is_gone(path: Path, replaced: bool) -> None:
    with Registry.open(path) as registry:
        path.rename(path.with_name("moved.db"))
        if replaced:
            Registry.open(path).close()
        with pytest.raises(RegistryError, match="was deleted, moved or replaced"):
            registry.add_set(SET, run=None)


def test_a_file_that_is_replaced_while_it_is_opened_is_not_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Registry.open(path).close()
    Registry.open(path.with_name("other.db")).close()
    use_log = store.use_log

    def replaced(connection: sqlite3.Connection) -> bool:
        os.replace(path.with_name("other.db"), path)
        return use_log(connection)

    monkeypatch.setattr(store, "use_log", replaced)
    with pytest.raises(RegistryError, match="replaced while it was opened; do it again"):
        Registry.open(path)
    assert set(path.parent.iterdir()) <= {path, *(path.with_name(f"satm.db-{end}") for end in ("wal", "shm"))}


def test_opening_waits_as_long_as_it_may_and_says_so(path: Path) -> None:
    """An older file is brought up to date when it is opened, which needs the write lock."""
    holder = sqlite3.connect(unpack(1, path), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    waits: list[float] = []

    def waiting(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            holder.rollback()

    with Registry.open(path, timeout=None, waiting=waiting) as registry:
        assert len(registry.sets()) == 2
    assert waits == sorted(waits)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(RegistryBusy), Registry.open(path, timeout=0.1) as registry:
        registry.add_recipe("x", {})
    holder.close()


def test_a_full_disk_is_named_and_the_registry_goes_on_when_there_is_space(path: Path) -> None:
    with Registry.open(path) as registry:
        (pages,) = registry._db.execute("PRAGMA page_count").fetchone()
        registry._db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(RegistryError, match="the disk is full"):
            registry.add_recipe("large", {"x": "y" * 100_000})
        registry._db.execute(f"PRAGMA max_page_count = {pages + 100}")
        registry.add_recipe("large", {"x": "y" * 100_000})
        assert count(registry) == 1


def test_a_registry_that_cannot_have_an_index_is_read_and_a_later_write_is_noticed(path: Path) -> None:
    with Registry.open(path) as registry:
        registry.add_recipe("first", {})
    index = path.with_name("satm.db-shm")
    index.symlink_to("nowhere/at-all")  # SQLite cannot make its index, as in a read-only folder
    with Registry.open(path, read_only=True) as registry:
        assert count(registry) == 1
        index.unlink()
        with Registry.open(path) as writer:
            writer.add_recipe("second", {})
            writer._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with pytest.raises(RegistryBusy, match="written while it was read"):
            count(registry)


def test_a_log_without_an_index_is_not_passed_over(path: Path) -> None:
    with Registry.open(path) as registry:
        registry.add_recipe("first", {})
        copies = {ending: path.with_name("satm.db" + ending).read_bytes() for ending in ("", "-wal")}
    copy = path.with_name("copy.db")
    for ending, content in copies.items():
        copy.with_name("copy.db" + ending).write_bytes(content)
    index = copy.with_name("copy.db-shm")
    index.symlink_to("nowhere/at-all")
    with pytest.raises(RegistryError, match="copy all of its files"):
        Registry.open(copy, read_only=True)
    index.unlink()
    with Registry.open(copy, read_only=True) as registry:
        assert count(registry) == 1


def test_a_reader_may_not_write_even_if_its_user_may(path: Path) -> None:
    Registry.open(path).close()
    connection, _ = connect_for_reading(path, 1.0)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM sets")
    connection.close()


def test_a_pipe_is_refused_at_once(path: Path) -> None:
    os.mkfifo(path)
    results: list[BaseException] = []

    def opening(read_only: bool) -> None:
        with pytest.raises(RegistryError, match="is a pipe or a device") as raised:
            Registry.open(path, read_only=read_only)
        results.append(raised.value)

    for read_only in (False, True):
        thread = threading.Thread(target=opening, args=(read_only,), daemon=True)  # it would wait for ever
        thread.start()
        thread.join(10)
    assert len(results) == 2
    with pytest.raises(RegistryError, match="is a pipe or a device"):
        Registry.open("/dev/null", read_only=True)
