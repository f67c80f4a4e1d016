"""Backups and merges of whole registry files."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from registry import Registry
from satm.errors import RegistryError, SatmError
from tests.registry.helpers import SET, a_set, result, start
from tests.registry.kept import SCHEMAS, unpack
from tests.registry.test_predictions import prediction


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Registry]:
    with Registry.open(tmp_path / "other.db") as opened:
        yield opened


def test_a_backup_holds_everything_while_another_process_writes(registry: Registry, tmp_path: Path) -> None:
    record = registry.add_set(SET, run=start(registry))
    with registry._writing() as db:
        db["recipes"].insert({"id": "x", "name": "not committed", "config": "{}", "created": "now"})
        with Registry.open(registry.path, read_only=True) as reader:
            reader.backup(tmp_path / "copy.db")
    with Registry.open(tmp_path / "copy.db", read_only=True) as copy:
        assert copy.uuid == registry.uuid
        assert copy.load("latest").id == record.id
        assert copy.verify() == []
        assert copy.query("SELECT count(*) FROM recipes")[1] == [(0,)]


def test_a_backup_never_replaces_a_file(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("mine")
    with pytest.raises(RegistryError, match="is there already"):
        registry.backup(tmp_path / "there")
    assert (tmp_path / "there").read_text() == "mine"


def test_merged_sets_get_free_versions_and_keep_their_ids(registry: Registry, other: Registry) -> None:
    ours = registry.add_set(a_set(0), run=None)
    shared = registry.add_set(a_set(1), run=None)
    theirs = [other.add_set(a_set(seed), run=start(other, f"k{seed}")) for seed in (1, 2)]
    other.add_metrics(theirs[1].run_id, [(0, "loss", 0.5)])
    other.add_tag(theirs[1].id, "best")
    merged = registry.merge(other.path)
    assert merged.sets == (("cifar10/ipc2/satm@2", "cifar10/ipc2/satm@3"),)
    assert merged.runs == 2
    assert [record.id for record in registry.sets()] == [ours.id, shared.id, theirs[1].id]
    assert registry.find("best").name == "cifar10/ipc2/satm@3"
    assert registry.load("best").id == theirs[1].id
    assert [row.value for row in registry.metrics(theirs[1].run_id)] == [0.5]
    assert registry.group("cifar10/ipc2/satm").seeds == (0, 1, 2)
    assert registry.verify() == []


def test_the_same_merge_again_changes_nothing(registry: Registry, other: Registry) -> None:
    record = other.add_set(SET, run=start(other))
    other.add_results([result(record.id, other.add_recipe("smoke", {}))])
    registry.merge(other.path)
    before = list(sqlite3.connect(registry.path).iterdump())
    again = registry.merge(other.path)
    assert (again.sets, again.runs, again.results, again.differing) == ((), 0, 0, 0)
    assert list(sqlite3.connect(registry.path).iterdump()) == before


def test_of_two_numbers_for_one_result_ours_stays_and_theirs_is_kept(registry: Registry, other: Registry) -> None:
    for store, value in ((registry, 0.5), (other, 0.75)):
        set_id, recipe = store.add_set(SET, run=None).id, store.add_recipe("smoke", {})
        store.add_results([result(set_id, recipe, value=value), result(set_id, recipe, repeat=1, value=0.25)])
    for _ in range(2):
        merged = registry.merge(other.path)
        assert (merged.results, merged.differing) == (0, 1)
        assert [row.value for row in registry.results()] == [0.5, 0.25]
        assert [row["value"] for row in registry.replaced_results()] == [0.75]
    assert registry.summary()[0].mean == 0.375
    assert registry.verify() == []


def test_predictions_come_with_their_accuracy_only(registry: Registry, other: Registry) -> None:
    for store, value in ((registry, 0.5), (other, 0.75)):
        set_id, recipe = store.add_set(SET, run=None).id, store.add_recipe("smoke", {})
        store.add_results([result(set_id, recipe, value=value), result(set_id, recipe, repeat=1, value=0.25)])
    network = {"protocol": "cross-arch", "architecture": "resnet18"}
    other.add_predictions([prediction(set_id, recipe, repeat=repeat, **network) for repeat in (0, 1, 2)])
    registry.merge(other.path)
    assert [row.repeat for row in registry.predictions()] == [1, 2]  # repeat 0 has another accuracy here


def test_a_tag_of_another_set_stays_as_it_is_here(registry: Registry, other: Registry) -> None:
    ours = registry.add_set(a_set(0), run=None)
    registry.add_tag(ours.id, "best")
    other.add_tag(other.add_set(a_set(1), run=None).id, "best")
    assert registry.merge(other.path).tags == ("best",)
    assert registry.find("best").id == ours.id


def test_of_one_run_the_later_record_counts(registry: Registry, tmp_path: Path) -> None:
    run = start(registry)
    registry.backup(tmp_path / "copy.db")
    with Registry.open(tmp_path / "copy.db") as copy:
        copy.add_metrics(run, [(0, "loss", 1.0)])
        copy.finish_run(run, status="interrupted", message="stopped")
    assert registry.merge(tmp_path / "copy.db").runs == 0
    assert registry.run(run).status == "interrupted"
    assert [row.value for row in registry.metrics(run)] == [1.0]


def test_two_open_runs_of_one_key_are_both_kept(registry: Registry, tmp_path: Path) -> None:
    registry.backup(tmp_path / "copy.db")
    ours = start(registry, "k")
    with Registry.open(tmp_path / "copy.db") as copy:
        theirs = start(copy, "k")
    registry.merge(tmp_path / "copy.db")
    assert {run.id: run.key for run in registry.runs()} == {ours: "k", theirs: f"k+{theirs}"}


def test_a_merge_that_fails_changes_nothing(registry: Registry, other: Registry) -> None:
    registry.add_set(SET, run=None)
    other.add_set(replace(SET, seed=1), run=start(other))
    other._db.execute("PRAGMA foreign_keys = OFF")
    other._db.execute("INSERT INTO metrics VALUES ('nobody', 'loss', 0, 1.0)")
    other._db.execute("UPDATE runs SET set_id = 'nothing'")
    other._db.conn.commit()
    other.accept()
    before = list(sqlite3.connect(registry.path).iterdump())
    with pytest.raises(RegistryError, match="does not hold the set, run or recipe"):
        registry.merge(other.path)
    assert list(sqlite3.connect(registry.path).iterdump()) == before


def test_a_registry_is_not_merged_into_itself(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(registry.path)
    for path in (registry.path, tmp_path / "link.db"):
        with pytest.raises(RegistryError, match="is this registry"):
            registry.merge(path)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_other_file_is_only_read(registry: Registry, shared_folder: Path, schema: int) -> None:
    old = unpack(schema, shared_folder / "old.db")
    old.chmod(0o444)
    shared_folder.chmod(0o555)
    before = old.read_bytes()
    merged = registry.merge(old)
    assert (len(merged.sets), merged.runs, merged.results) == (2, 3, 8)
    assert registry.verify() == []
    assert old.read_bytes() == before
    assert sorted(file.name for file in shared_folder.iterdir()) == ["old.db", "satm.db"]


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("DROP TRIGGER blobs_never_change; UPDATE blobs SET data = zeroblob(size)", "blob [0-9a-f]{12} is damaged"),
        ("UPDATE metrics SET value = 2", "rows of the table metrics were changed"),
        ("DELETE FROM runs", "the table runs holds 0 rows, and satm stored 1"),
        ("UPDATE results SET value = 1", "a row of results .* was changed"),
    ],
)
def test_what_is_damaged_there_is_not_taken(registry: Registry, other: Registry, sql: str, problem: str) -> None:
    run = start(other)
    record = other.add_set(SET, run=None)
    other.add_metrics(run, [(0, "loss", 0.5)])
    other.add_results([result(record.id, other.add_recipe("smoke", {}))])
    other.close()
    damage = sqlite3.connect(other.path)
    damage.executescript(sql)
    damage.close()
    before = list(sqlite3.connect(registry.path).iterdump())
    with pytest.raises(RegistryError, match=f"^{other.path}: .*{problem}"):
        registry.merge(other.path)
    assert list(sqlite3.connect(registry.path).iterdump()) == before


def test_a_backup_can_be_made_of_what_may_only_be_read(locked_away: Path, as_nobody: None) -> None:
    with (
        tempfile.TemporaryDirectory() as mine,
        Registry.open(locked_away / "satm.db", read_only=True) as registry,
    ):
        registry.backup(Path(mine) / "copy.db")
        with Registry.open(Path(mine) / "copy.db") as copy:
            assert copy.uuid == registry.uuid


def test_a_backup_that_cannot_be_written_names_the_copy(locked_away: Path, as_nobody: None) -> None:
    with Registry.open(locked_away / "satm.db", read_only=True) as registry:
        with pytest.raises(SatmError, match=r"^no permission to write .*copy.db; .*, or name another file$"):
            registry.backup(locked_away / "copy.db")
        with pytest.raises(SatmError, match="'' is no file; name one"):
            registry.backup("")


def test_a_backup_on_a_full_disk_names_the_copy(registry: Registry, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    registry.add_recipe("large", {"x": "y" * 100_000})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(SatmError, match=r"copy\.db cannot"):
            registry.backup(tmp_path / "copy.db")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [file.name for file in tmp_path.iterdir() if "copy" in file.name] == []


def test_a_run_that_is_done_here_is_not_replaced_by_one_that_was_stopped_later(
    registry: Registry, tmp_path: Path
) -> None:
    run = start(registry)
    registry.add_metrics(run, [(0, "loss", 0.5)])
    registry.backup(tmp_path / "other.db")
    registry.finish_run(run, status="done")
    with Registry.open(tmp_path / "other.db") as there:
        there.add_metrics(run, [(1, "loss", 0.9)])
        there.finish_run(run, status="interrupted")
    registry.merge(tmp_path / "other.db")
    assert [each.status for each in registry.runs()] == ["done"]
    assert [row.value for row in registry.metrics(run)] == [0.5]
    assert registry.verify() == []


def test_a_run_that_went_on_elsewhere_has_the_metrics_of_there_only(registry: Registry, tmp_path: Path) -> None:
    run = start(registry)
    registry.backup(tmp_path / "other.db")
    registry.add_metrics(run, [(0, "loss", 0.5), (7, "loss", 0.1)])
    with Registry.open(tmp_path / "other.db") as there:
        there.add_metrics(run, [(0, "loss", 0.6)])
        there.finish_run(run, status="done")
    registry.merge(tmp_path / "other.db")
    assert [row.value for row in registry.metrics(run)] == [0.6]
    assert registry.verify() == []
