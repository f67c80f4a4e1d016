"""Backups and merges of whole registry files."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from registry import Registry
from satm.errors import RegistryError
from tests.registry.helpers import SET, a_set, result, start
from tests.registry.kept import unpack


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
    before = list(sqlite3.connect(registry.path).iterdump())
    with pytest.raises(RegistryError, match="does not hold the set, run or recipe"):
        registry.merge(other.path)
    assert list(sqlite3.connect(registry.path).iterdump()) == before


def test_a_registry_is_not_merged_into_itself(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(registry.path)
    for path in (registry.path, tmp_path / "link.db"):
        with pytest.raises(RegistryError, match="is this registry"):
            registry.merge(path)


def test_a_kept_file_can_be_merged(registry: Registry, tmp_path: Path) -> None:
    Registry.open(unpack(1, tmp_path / "old.db")).close()
    merged = registry.merge(tmp_path / "old.db")
    assert (len(merged.sets), merged.runs, merged.results) == (2, 3, 8)
    assert registry.verify() == []
