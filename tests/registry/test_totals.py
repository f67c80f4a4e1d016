"""`verify` finds rows that another program has changed, added or removed, in every table."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from registry import PredictionRow, Registry
from registry.predictions import images_digest
from registry.totals import TABLES
from satm.errors import RegistryError
from tests.registry.helpers import SET, a_set, result, start
from tests.registry.kept import SCHEMAS, unpack


def fill(registry: Registry) -> str:
    """A row in every table, and rows that were replaced and removed; the id of the run."""
    run = start(registry)
    record = registry.add_set(SET, run=run)
    recipe = registry.add_recipe("smoke", {})
    for value in (0.5, 0.25):
        registry.add_results([result(record.id, recipe, value=value, repeat=repeat) for repeat in (0, 1)])
    registry.add_metrics(run, [(step, name, 1 / (1 + step)) for step in range(3) for name in ("loss", "accuracy")])
    registry.add_metrics(run, [(0, "loss", float("nan"))])
    registry.drop_metrics_from(run, 2)
    targets = np.array([0, 1, 1])
    about = {key: getattr(registry.results()[0], key) for key in ("protocol", "architecture", "memory", "recipe_id")}
    for repeat in (0, 1, 1):
        predicted = PredictionRow(
            **about,
            set_id=record.id,
            repeat=repeat,
            test=images_digest(np.zeros((3, 1)), targets),
            num_classes=2,
            predicted=targets,
            targets=targets,
        )
        registry.add_predictions([predicted])
    registry.amend_run(run, more=1)
    registry.finish_run(run, status="done", set_id=record.id)
    registry.remove_run(start(registry, "other"))
    return run


@pytest.fixture
def run(path: Path) -> str:
    with Registry.open(path) as registry:
        return fill(registry)


@pytest.fixture
def elsewhere(path: Path, run: str) -> Iterator[sqlite3.Connection]:
    """Another program's connection to the registry. What it does is committed at once."""
    connection = sqlite3.connect(path, isolation_level=None)
    yield connection
    connection.close()


def problems(path: Path) -> list[str]:
    with Registry.open(path, read_only=True) as registry:
        return registry.verify()


def test_what_satm_writes_is_right(path: Path, run: str) -> None:
    assert problems(path) == []
    with Registry.open(path, read_only=True) as registry:
        _, ((parts,),) = registry.query("SELECT count(DISTINCT part) FROM totals")
    assert parts == len(TABLES)


@pytest.mark.parametrize("table", TABLES)
def test_a_row_that_another_program_removed_is_missed(elsewhere: sqlite3.Connection, path: Path, table: str) -> None:
    (before,) = elsewhere.execute(f"SELECT count(*) FROM {table}").fetchone()
    elsewhere.execute(f"DELETE FROM {table} WHERE rowid = (SELECT max(rowid) FROM {table})")
    said = [line for line in problems(path) if f"the table {table} holds {before - 1} rows" in line]
    assert len(said) == 1
    assert f"satm stored {before}; restore a copy" in said[0]


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("UPDATE metrics SET value = 0.7 WHERE name = 'loss' AND step = 1", "{run}: rows of the table metrics"),
        ("UPDATE metrics SET value = 0 WHERE value IS NULL", "{run}: rows of the table metrics"),
        ("UPDATE runs SET seed = 7", "{run}: rows of the table runs"),
        ("UPDATE runs SET config = '{{}}'", "{run}: rows of the table runs"),
        ("UPDATE predictions SET predicted = zeroblob(9) WHERE repeat = 0", "@1: rows of the table predictions"),
        ("UPDATE tests SET targets = zeroblob(9)", "rows of the table tests"),
        ("UPDATE environments SET facts = '{{}}'", "rows of the table environments"),
        ("INSERT INTO metrics VALUES ('{run}', 'loss', 9, 0.1)", "{run}: the table metrics holds 5 rows"),
    ],
)
def test_a_row_that_another_program_changed_is_found(
    elsewhere: sqlite3.Connection, path: Path, run: str, sql: str, problem: str
) -> None:
    elsewhere.execute(sql.format(run=run))
    (found,) = problems(path)
    assert problem.format(run=run) in found
    with Registry.open(path) as registry:  # later work of satm hides nothing
        registry.add_metrics(run, [(7, "loss", 0.5)])
        registry.add_seconds(run, 1.0)
    assert len(problems(path)) == 1


def test_one_set_is_verified_with_what_was_measured_of_it(elsewhere: sqlite3.Connection, path: Path) -> None:
    with Registry.open(path) as registry:
        registry.add_set(a_set(1), run=None)
    elsewhere.execute("DELETE FROM predictions")
    with Registry.open(path, read_only=True) as registry:
        assert registry.verify("cifar10/ipc2/satm@2") == []
        (found,) = registry.verify("cifar10/ipc2/satm@1")
    assert found.startswith("cifar10/ipc2/satm@1: the table predictions holds 0 rows, and satm stored 2")


def test_a_change_on_purpose_can_be_accepted(elsewhere: sqlite3.Connection, path: Path) -> None:
    elsewhere.execute("DELETE FROM predictions")
    elsewhere.execute("UPDATE results SET value = 0.75 WHERE repeat = 0")
    with Registry.open(path) as registry:
        assert registry.accept() == 1
        (found,) = registry.verify()  # a checksum of its own stays wrong
    assert "a row of results" in found


def test_an_error_counts_nothing(path: Path, run: str) -> None:
    with Registry.open(path) as registry:
        with pytest.raises(RegistryError, match="does not hold"):
            registry.add_predictions([replace(row, run_id="nobody") for row in registry.predictions()])
        registry.add_metrics(run, [(7, "loss", 0.5)])
        assert registry.verify() == []


@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_rows_of_an_older_file_get_totals_when_it_is_brought_up_to_date(path: Path, schema: int) -> None:
    Registry.open(unpack(schema, path)).close()
    assert problems(path) == []
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM metrics WHERE name = 'loss'")
    connection.close()
    assert len(problems(path)) == 2


def test_a_merge_counts_what_it_takes(path: Path, run: str, tmp_path: Path) -> None:
    with Registry.open(tmp_path / "other.db") as other:
        fill(other)
    with Registry.open(path) as registry:
        registry.merge(tmp_path / "other.db")
        assert registry.verify() == []
