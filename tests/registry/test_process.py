"""Whether the process of a run still lives."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from registry import Registry, RunRecord
from registry.process import process_of, state
from tests.registry.helpers import SET, result, start

RUNNING = (
    "import sys, time; from registry import Registry; from tests.registry.helpers import start\n"
    "with Registry.open(sys.argv[1]) as r: print(start(r), flush=True)\n"
    "try: time.sleep(120)\n"
    "except KeyboardInterrupt: print('asked to stop', flush=True)"
)


@pytest.fixture
def child(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has started a run."""
    Registry.open(path).close()
    process = subprocess.Popen([sys.executable, "-c", RUNNING, str(path)], stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def running(child: subprocess.Popen[str], path: Path) -> RunRecord:
    assert child.stdout is not None
    run_id = child.stdout.readline().strip()
    with Registry.open(path, read_only=True) as registry:
        return registry.run(run_id)


def test_a_killed_run_is_dead(child: subprocess.Popen[str], running: RunRecord) -> None:
    assert (state(running), running.pid) == ("running", child.pid)
    child.kill()
    child.wait()
    assert (state(running), process_of(running)) == ("dead", None)


def test_a_process_that_has_the_number_of_an_ended_one_is_not_the_run(running: RunRecord) -> None:
    assert running.process_started is not None
    earlier = replace(running, process_started=running.process_started - 60)
    assert (state(earlier), process_of(earlier)) == ("dead", None)


def test_what_is_said_of_runs_elsewhere_and_of_older_versions(registry: Registry) -> None:
    run = registry.run(start(registry))
    away = replace(run, host="elsewhere", pid=1)
    assert (state(run), state(away), process_of(away)) == ("running", "running", None)
    long_ago = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    assert state(replace(away, updated=long_ago)) == "silent"
    assert state(replace(run, updated=long_ago)) == "running"
    assert state(replace(run, host=None, pid=None, process_started=None)) == "unknown"
    assert state(replace(away, status="interrupted")) == "interrupted"


def test_results_and_metrics_are_a_heartbeat(registry: Registry) -> None:
    run, recipe = start(registry), registry.add_recipe("smoke", {})
    set_id = registry.add_set(SET, run=None).id
    for store in (
        lambda: registry.add_results([result(set_id, recipe, run_id=run)]),
        lambda: registry.add_seconds(run, 1.0),
    ):
        registry._db.execute("UPDATE runs SET updated = '2020'")
        registry._db.conn.commit()
        store()
        assert registry.run(run).updated > "2026"


def test_a_run_that_nothing_needs_can_be_removed(registry: Registry) -> None:
    run = start(registry)
    registry.add_metrics(run, [(0, "loss", 1.0)])
    registry.remove_run(run)
    assert registry.runs() == []
    assert registry.verify() == []
