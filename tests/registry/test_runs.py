from __future__ import annotations

import math
import sys
import time
from dataclasses import replace

import pytest

from registry import MetricRow, Registry
from registry.provenance import environment
from satm.errors import RegistryError
from tests.registry.helpers import SET, start


def test_a_run_keeps_what_it_was_started_with(registry: Registry) -> None:
    run = registry.run(start(registry, method="satm", ipc=1))
    assert (run.key, run.kind, run.status, run.method, run.ipc) == ("k", "condense", "running", "satm", 1)
    assert (run.config, run.seconds, run.sessions, run.set_id) == ({"outer_steps": 10}, 0.0, 1, None)
    assert registry.environment(run.environment_id).facts == {"python": "3.11"}
    assert registry.find_run("k") == run
    assert registry.find_run("other") is None


@pytest.mark.parametrize("status", ["interrupted", "failed", "running"])
def test_a_run_that_is_not_done_is_resumed(registry: Registry, status: str) -> None:
    run_id = start(registry)
    registry.add_metrics(run_id, [(0, "loss", 1.0)])
    if status == "running":  # killed: only its checkpoints were counted
        registry.add_seconds(run_id, 2.0)
    else:
        registry.finish_run(run_id, status=status, message="stopped at step 1", add_seconds=2.0)
    before = registry.run(run_id)
    assert before.status == status
    time.sleep(0.002)  # timestamps count milliseconds
    assert start(registry, device="cuda:0", command="again", environment={"python": "3.12"}) == run_id
    after = registry.run(run_id)
    assert after == replace(
        before,
        status="running",
        message="",
        sessions=2,
        device="cuda:0",
        command="again",
        environment_id=after.environment_id,
        updated=after.updated,
    )
    assert registry.environment(after.environment_id).facts == {"python": "3.12"}
    assert after.updated > before.updated
    assert len(registry.metrics(run_id)) == 1
    registry.finish_run(run_id, status="done", add_seconds=3.0)
    assert registry.run(run_id).seconds == 5.0


def test_a_run_that_is_resumed_by_its_id_keeps_its_command(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["satm", "condense", "cifar10"])
    before = registry.run(start(registry))
    monkeypatch.setattr(sys, "argv", ["satm", "runs", "resume", before.id])
    for keep, line in ((True, "satm condense cifar10"), (False, f"satm runs resume {before.id}")):
        after = registry.run(start(registry, command=" ".join(sys.argv), keep_command=keep))
        assert (after.id, after.command, after.command_line) == (before.id, line, line)


def test_a_done_run_stays_and_its_key_can_be_run_again(registry: Registry) -> None:
    first = start(registry)
    record = registry.add_set(SET, run=first)
    registry.finish_run(first, status="done", set_id=record.id)
    found = registry.find_run("k")
    assert found is not None
    assert (found.id, found.status, found.set_id) == (first, "done", record.id)
    second = start(registry)
    assert second != first
    assert [run.id for run in registry.runs()] == [first, second]
    assert [run.id for run in registry.runs(status="done", kind="condense", dataset="cifar10")] == [first]
    assert registry.runs(method="satm") == []
    assert start(registry) == second


def test_an_evaluation_keeps_the_set_it_was_given(registry: Registry) -> None:
    record = registry.add_set(SET, run=None)
    run_id = start(registry, kind="eval", set_id=record.id)
    registry.finish_run(run_id, status="done")
    assert registry.run(run_id).set_id == record.id


def test_metrics_replace_filter_and_drop(registry: Registry) -> None:
    run_id, other = start(registry), start(registry, key="other")
    registry.add_metrics(run_id, [(step, name, step / 8) for step in range(5) for name in ("loss", "alpha")])
    registry.add_metrics(other, [(4, "loss", 9.0)])
    registry.add_metrics(run_id, [(4, "loss", -1.0)])
    registry.add_metrics(run_id, [])
    assert [row.value for row in registry.metrics(run_id, "loss")] == [0.0, 0.125, 0.25, 0.375, -1.0]
    registry.drop_metrics_from(run_id, 1)
    assert [(row.step, row.name) for row in registry.metrics(run_id)] == [(0, "alpha"), (0, "loss")]
    assert registry.metrics(other) == [MetricRow(run_id=other, step=4, name="loss", value=9.0)]


def test_metrics_that_are_not_finite_come_back(registry: Registry) -> None:
    run_id = start(registry)
    registry.add_metrics(run_id, [(0, "loss", math.inf), (1, "loss", math.nan)])
    infinite, undefined = registry.metrics(run_id)
    assert infinite.value == math.inf
    assert math.isnan(undefined.value)


def test_a_run_that_is_not_there_is_refused(registry: Registry) -> None:
    for change in (
        lambda: registry.add_metrics("nobody", [(0, "loss", 1.0)]),
        lambda: registry.finish_run("nobody", status="done"),
        lambda: registry.add_seconds("nobody", 1.0),
    ):
        with pytest.raises(RegistryError, match="nothing under id 'nobody' in runs"):
            change()
    with pytest.raises(RegistryError, match="in environments"):
        registry.environment("nobody")


def test_a_config_that_json_cannot_carry_is_refused(registry: Registry) -> None:
    with pytest.raises(RegistryError, match="JSON"):
        start(registry, config={"rho": math.nan})
    with pytest.raises(RegistryError, match="JSON"):
        start(registry, environment={"device": object()})
    assert registry.runs() == []


def test_a_seed_too_large_for_sqlite_is_one_clear_line(registry: Registry) -> None:
    with pytest.raises(RegistryError, match="too large"):
        start(registry, seed=2**64)


def test_the_environment_is_known_and_stored_once(registry: Registry) -> None:
    facts = environment()
    assert facts == environment()
    for name in ("python", "torch", "platform", "cores"):
        assert facts[name], name
    assert facts["packages"]["sqlite-utils"].startswith("4.")
    assert registry.add_environment(facts) == registry.add_environment(facts)
    assert registry.query("SELECT count(*) FROM environments")[1] == [(1,)]


def test_how_a_run_turned_out_replaces_what_was_said_at_its_start(registry: Registry) -> None:
    run_id = start(registry)
    registry.amend_run(run_id, notes={"engine": "replay"})
    registry.amend_run(run_id, notes={"engine": "higher"})
    assert registry.run(run_id).config == {"outer_steps": 10, "notes": {"engine": "higher"}}
