"""Kept registry files of every schema are brought up to date with everything in them."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from registry import Registry, migrations
from tests.registry.helpers import result
from tests.registry.kept import SCHEMAS, unpack


def test_a_file_of_every_schema_is_kept() -> None:
    assert list(range(1, len(migrations.STEPS) + 1)) == SCHEMAS


@pytest.fixture(params=SCHEMAS)
def older(request: pytest.FixtureRequest, path: Path) -> tuple[int, Path]:
    return request.param, unpack(request.param, path)


def test_a_kept_file_is_brought_up_to_date_with_its_contents(older: tuple[int, Path]) -> None:
    schema, path = older
    with Registry.open(path) as registry:
        assert [record.name for record in registry.sets()] == ["cifar10/ipc2/satm@1", "cifar10/ipc2/satm@2"]
        assert [registry.load(record.name).id for record in registry.sets()] == [r.id for r in registry.sets()]
        assert registry.verify() == []
        assert [run.status for run in registry.runs()] == ["done", "done", "interrupted"]
        assert [len(registry.metrics(run.id)) for run in registry.runs()] == [2, 2, 0]
        assert len(registry.results()) == 8
        means = {(row.set_name[-1], row.protocol, row.step): (row.mean, row.n) for row in registry.summary()}
        assert means["1", "cross-arch", 1] == (0.5625, 2)
        assert means["2", "cross-arch", 1] == (0.8125, 2)
        assert means["1", "class-incremental", 2] == (0.5, 1)
        assert len(registry.predictions()) == (2 if schema >= 4 else 0)
        (group,) = registry.groups()
        assert (group.name, group.seeds) == ("cifar10/ipc2/satm", (0, 1))
        assert registry.replaced_results() == []


def test_a_kept_file_gets_the_schema_of_a_new_file(older: tuple[int, Path], tmp_path: Path) -> None:
    _, path = older
    Registry.open(path).close()
    Registry.open(tmp_path / "new.db").close()
    assert _schema(path) == _schema(tmp_path / "new.db")


def test_a_file_keeps_the_uuid_that_it_once_got(older: tuple[int, Path]) -> None:
    _, path = older
    with Registry.open(path) as registry:
        first = registry.uuid
    with Registry.open(path.rename(path.with_name("moved.db"))) as registry:
        assert registry.uuid == first


def test_a_result_of_an_older_file_is_covered_by_a_checksum(older: tuple[int, Path]) -> None:
    _, path = older
    with Registry.open(path) as registry:
        registry._db.execute("DROP TRIGGER results_are_changed")
        registry._db.execute("UPDATE results SET value = 0.9 WHERE protocol = 'cross-arch' AND repeat = 1")
        problems = registry.verify()
        assert [problem.split(":")[0] for problem in problems] == ["cifar10/ipc2/satm@1", "cifar10/ipc2/satm@2"]
        assert all("repeat 1, step 1) was changed" in problem for problem in problems)


def test_an_older_file_can_be_written_on(older: tuple[int, Path]) -> None:
    _, path = older
    with Registry.open(path) as registry:
        record, stopped = registry.sets()[0], registry.runs()[-1]
        (recipe,) = {row.recipe_id for row in registry.results()}
        registry.add_results([result(record.id, recipe, value=0.25, run_id=stopped.id)])
        (before,) = registry.replaced_results()
        assert (before["value"], before["repeat"], before["run_id"]) == (0.5, 0, None)
        assert registry.verify() == []


def _schema(path: Path) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name").fetchall()
    connection.close()
    return rows
