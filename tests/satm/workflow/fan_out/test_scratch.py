"""The scratch registry of a Ray worker: what it knows, what comes back, what a second start continues."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from registry import Registry
from satm.errors import Busy
from satm.home import home
from satm.progress import SILENT
from satm.workflow import copies
from satm.workflow.fan_out.messages import Ended
from satm.workflow.fan_out.origin import Origin
from satm.workflow.fan_out.scratch import Returned, as_bytes, held, prepare, remove, scratch_path, take
from tests.registry.test_groups import condensed
from tests.satm.workflow.fan_out.tasks import Count, Write


@pytest.fixture
def main(tmp_path: Path) -> Path:
    """The registry of the process that starts the work, with one set."""
    with Registry.open(tmp_path / "satm.db") as store:
        store.add_set(condensed(0), run=None)
    return tmp_path / "satm.db"


def sets(path: Path) -> set[str]:
    with Registry.open(path, read_only=True) as store:
        return {record.id for record in store.sets()}


@pytest.mark.parametrize("sent", [True, False])
def test_a_scratch_registry_knows_what_is_done_and_brings_back_what_is_new(main: Path, sent: bool) -> None:
    with Registry.open(main, read_only=True) as store:
        uuid = store.uuid
    scratch = scratch_path(uuid, Write("seed 1"))
    prepare(scratch, as_bytes(main))
    assert sets(scratch) == sets(main)
    with Registry.open(scratch) as store:
        assert store.uuid == uuid  # so runs have the same keys, and their saved states are found
        made = store.add_set(condensed(1), run=None)
    take(Returned(Ended(None), scratch, as_bytes(scratch) if sent else None), main)
    assert made.id in sets(main)
    assert len(sets(main)) == 2
    remove(scratch)
    assert not list(scratch.parent.iterdir())


def test_a_scratch_registry_that_is_in_use_is_kept_and_lies_on_a_disk_of_this_machine(
    main: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "network_file_system", lambda path: "nfs4" if path == home() else None)
    monkeypatch.setattr(copies.tempfile, "gettempdir", lambda: str(tmp_path / "local"))
    scratch = scratch_path("uuid", Write("seed 1"))
    assert scratch.is_relative_to(tmp_path / "local")
    with held(scratch):
        prepare(scratch, as_bytes(main))
        with Registry.open(scratch) as store:
            before = store.uuid
            copies.separate_copy(store, SILENT)
            assert store.uuid == before  # a run has the same key in both
        with pytest.raises(Busy, match="another command does the same task"), held(scratch):
            pass
        remove(scratch)
        assert scratch.exists()
    remove(scratch)
    assert not list(scratch.parent.iterdir())


def test_a_second_start_keeps_what_the_first_has_made_and_learns_what_is_new(main: Path) -> None:
    scratch = scratch_path("uuid", Write("seed 1"))
    assert scratch == scratch_path("uuid", Write("seed 1")) != scratch_path("uuid", Write("seed 2"))
    assert scratch != scratch_path("uuid", Count("seed 1"))  # a task of another command, with the same name
    prepare(scratch, as_bytes(main))
    with Registry.open(scratch) as store:
        kept = store.add_set(condensed(1), run=None)
    with Registry.open(main) as store:
        later = store.add_set(condensed(2), run=None)
    prepare(scratch, as_bytes(main))
    assert {kept.id, later.id} <= sets(scratch)
    assert [file.name for file in scratch.parent.iterdir() if file.is_dir()] == []


def test_a_worker_takes_over_the_environment_of_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["satm", "condense"])
    monkeypatch.setenv("SATM_HOME", "mine")
    monkeypatch.delenv("SATM_DATA", raising=False)
    started = Origin.of_this_process()
    monkeypatch.setattr(sys, "argv", ["default_worker.py"])
    monkeypatch.setenv("SATM_HOME", "/node")
    monkeypatch.setenv("SATM_DATA", "/images")
    elsewhere = Origin("elsewhere", "/no/such/folder", started.arguments, started.folders)
    elsewhere.adopt()  # what is set on another host stays
    assert (os.environ["SATM_HOME"], os.environ["SATM_DATA"], sys.argv) == ("/node", "/images", ["satm", "condense"])
    started.adopt()
    assert os.environ["SATM_HOME"] == str(tmp_path / "mine")
    assert "SATM_DATA" not in os.environ
