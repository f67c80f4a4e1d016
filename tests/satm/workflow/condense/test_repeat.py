"""Stopped runs go on: after a move of the registry, from older versions, from stored facts; and sets are made again."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from registry import Registry, RunRecord
from satm.canonical import digest
from satm.errors import ConfigError, Interrupted, RegistryError
from satm.home import home
from satm.preprocessing import MeanStd
from satm.presets import Preset
from satm.workflow.checkpoint import Checkpoint
from satm.workflow.choosing import choose_preset
from satm.workflow.condense.repeat import rebuild, resume
from satm.workflow.condense.run import condense
from satm.workflow.former_runs import state_of
from satm.workflow.housekeeping import run_files
from tests.helpers import StopAfter


class Listening(StopAfter):
    """Keeps what is said; asks to stop after `calls` calls of `stopping`."""

    def __init__(self, calls: int = 10**9) -> None:
        super().__init__(calls)
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture
def preset() -> Preset:
    return choose_preset("digits", ipc=1, method="dm", profile="smoke", settings={"outer_steps": 6})


@pytest.fixture
def expected(preset: Preset, tmp_path: Path) -> str:
    """The id of the set that a run without a stop makes."""
    return condense(preset, registry=tmp_path / "expected.db", device="cpu").record.id


@pytest.fixture
def stopped(preset: Preset, path: Path) -> RunRecord:
    """A run that was stopped in the middle."""
    with pytest.raises(Interrupted, match="of 6, all saved"):
        condense(preset, registry=path, device="cpu", progress=Listening(2))
    (run,) = runs(path)
    assert (run.status, len(run_files(run.key))) == ("interrupted", 1)
    return run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "satm.db"


def runs(path: Path) -> list[RunRecord]:
    with Registry.open(path, read_only=True) as store:
        return store.runs()


def test_a_registry_that_was_moved_and_renamed_goes_on(
    preset: Preset, path: Path, stopped: RunRecord, expected: str
) -> None:
    (path.parent / "elsewhere").mkdir()
    moved = path.rename(path.parent / "elsewhere" / "other.db")
    listening = Listening()
    done = condense(preset, registry=moved, device="cpu", progress=listening)
    assert done.record.id == expected
    assert any(said.startswith("continuing from outer step") for said in listening.said)
    (run,) = runs(moved)
    assert (run.id, run.status, run.sessions) == (stopped.id, "done", 2)
    assert not run_files(run.key)


def test_a_run_whose_saved_state_is_gone_says_so_and_starts_over(
    preset: Preset, path: Path, stopped: RunRecord, expected: str
) -> None:
    for file in run_files(stopped.key):
        file.unlink()
    listening = Listening()
    done = condense(preset, registry=path, device="cpu", progress=listening)
    assert f"the saved state of run {stopped.id} is gone: it starts over from outer step 0" in listening.said
    assert done.record.id == expected
    (run,) = runs(path)
    assert (run.id, run.status, run.sessions) == (stopped.id, "done", 2)


def made_by_an_older_version(path: Path, run: RunRecord, facts: dict[str, Any], former: Path) -> None:
    """Give a stopped run the key that older versions made of the path `former`, and no process."""
    key = digest({**facts, "registry": str(former.resolve())})[:32]
    for file in run_files(run.key):
        os.replace(file, file.with_name(key + file.name.removeprefix(run.key)))
    with Registry.open(path) as store, store._writing() as db:
        db.execute('UPDATE runs SET "key" = ?, host = NULL, pid = NULL, arguments = NULL', [key])
        db.execute("UPDATE identities SET former_path = ?", [str(path.resolve())])


@pytest.fixture
def facts(preset: Preset, stopped: RunRecord) -> dict[str, Any]:
    """What decided the key of a run until runs had the UUID of their registry, except the path."""
    from satm.workflow.condense.inputs import load_data

    data = load_data(preset.config, data_root=None)
    return {
        "version": 1,
        "config": preset.config.to_dict(),
        "profile": "smoke",
        "data": data.fingerprint,
        "seed": 0,
        "device": "cpu",
    }


@pytest.mark.parametrize("moves", [False, True])
def test_a_run_that_an_older_version_stopped_goes_on(
    preset: Preset, path: Path, stopped: RunRecord, facts: dict[str, Any], expected: str, moves: bool
) -> None:
    made_by_an_older_version(path, stopped, facts, path)
    place = path.rename(path.with_name("moved.db")) if moves else path
    listening = Listening()
    assert condense(preset, registry=place, device="cpu", progress=listening).record.id == expected
    assert any(said.startswith("continuing from outer step") for said in listening.said)
    (run,) = runs(place)
    assert (run.id, run.key, run.sessions) == (stopped.id, stopped.key, 2)


def test_a_run_whose_old_key_cannot_be_found_is_named(
    preset: Preset, path: Path, stopped: RunRecord, facts: dict[str, Any], expected: str
) -> None:
    made_by_an_older_version(path, stopped, facts, path.parent / "where it lay before the update.db")
    listening = Listening()
    assert condense(preset, registry=path, device="cpu", progress=listening).record.id == expected
    (said,) = [said for said in listening.said if stopped.id in said]
    assert "cannot be continued" in said
    assert "another path" in said


def test_a_state_that_is_no_run_moves_to_its_key_of_today(path: Path) -> None:
    facts = {"stream": ["set", "class-incremental", 0]}
    old = Checkpoint(digest({**facts, "registry": str(path.resolve())})[:32])
    old.save({"step": torch.tensor(3)})
    with Registry.open(path) as store:
        assert state_of(store, facts).load() is None  # a new file has no runs of an older version
        with store._writing() as db:
            db.execute("UPDATE identities SET former_path = ?", [str(path.resolve())])
        found = state_of(store, facts)
        assert found.path.stem == store.run_key(facts)
        state = found.load()
    assert state is not None
    assert int(state["step"]) == 3
    assert old.load() is None


def test_a_stopped_run_of_a_merged_registry_goes_on(
    preset: Preset, path: Path, stopped: RunRecord, expected: str, tmp_path: Path
) -> None:
    with Registry.open(tmp_path / "joint.db") as joint:
        joint.merge(path)
    listening = Listening()
    assert condense(preset, registry=tmp_path / "joint.db", device="cpu", progress=listening).record.id == expected
    assert any(said.startswith("continuing from outer step") for said in listening.said)


def test_a_run_resumes_from_its_stored_facts_alone(path: Path, stopped: RunRecord, expected: str) -> None:
    done = resume(stopped, registry=path)
    assert (done.record.id, done.record.run_id) == (expected, stopped.id)


@pytest.mark.parametrize("change", ["seed", "settings"])
def test_facts_that_would_be_another_run_are_refused(path: Path, stopped: RunRecord, change: str) -> None:
    if change == "seed":
        other = replace(stopped, seed=1)
    else:
        config = {**stopped.config, "condense": {**stopped.config["condense"], "ipc": 2}}
        other = replace(stopped, config=config)
    with pytest.raises(ConfigError, match=f"run {stopped.id} cannot be continued from here"):
        resume(other, registry=path)
    assert len(runs(path)) == 1


def test_a_run_of_another_kind_or_without_facts_is_refused(path: Path, stopped: RunRecord) -> None:
    with pytest.raises(RegistryError, match="condensed nothing"):
        resume(replace(stopped, kind="import"), registry=path)
    with pytest.raises(RegistryError, match="does not hold what it condensed"):
        resume(replace(stopped, config={}), registry=path)


def test_a_set_is_made_again_bit_for_bit(preset: Preset, path: Path) -> None:
    record = condense(preset, registry=path, device="cpu").record
    before = path.read_bytes()
    again = rebuild(record.name, registry=path)
    assert (again.id, again.differences, again.elsewhere) == (record.id, (), ())
    assert path.read_bytes() == before
    assert list((home() / "rebuilds").iterdir()) == []


def test_a_rebuild_that_was_stopped_goes_on(preset: Preset, path: Path) -> None:
    record = condense(preset, registry=path, device="cpu").record
    with pytest.raises(Interrupted):
        rebuild(record.name, registry=path, progress=Listening(2))
    listening = Listening()
    assert rebuild(record.name, registry=path, progress=listening).differences == ()
    assert any(said.startswith("continuing from outer step") for said in listening.said)


def test_a_rebuild_says_what_differs(preset: Preset, path: Path) -> None:
    made = condense(preset, registry=path, device="cpu").record
    with Registry.open(path) as store:
        stored = store.load(made.name)
        wrong = store.add_set(replace(stored, images=stored.images + 0.5), run=made.run_id)
    again = rebuild(wrong.name, registry=path)
    assert again.id == made.id
    assert "by at most 0.5" in next(each.b for each in again.differences if each.what == "images.differ_in")


def test_a_rebuild_elsewhere_is_refused_unless_told(
    preset: Preset, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = condense(preset, registry=path, device="cpu").record
    monkeypatch.setattr("satm.workflow.condense.repeat.environment", lambda: _environment("9.9"))
    with pytest.raises(ConfigError, match=r"torch .*, here 9\.9.*--anyway"):
        rebuild(record.name, registry=path)
    again = rebuild(record.name, registry=path, anyway=True)
    assert again.id == record.id
    assert again.elsewhere[0].endswith("here 9.9")


def _environment(torch: str) -> dict[str, Any]:
    from registry.provenance import environment

    return {**environment(), "torch": torch}


def test_only_a_set_that_was_condensed_here_is_made_again(preset: Preset, path: Path) -> None:
    made = condense(preset, registry=path, device="cpu").record
    with Registry.open(path) as store:
        stored = store.load(made.name)
        foreign = replace(stored, preprocessing=MeanStd(mean=(0.1,), std=(0.2,)))
        bare = store.add_set(foreign, run=None)
    with pytest.raises(RegistryError, match="has no run"):
        rebuild(bare.name, registry=path)
