"""A registry and its copy do not share the saved states of runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from registry import Registry
from satm.cli import run
from satm.home import home
from satm.progress import NoProgress
from satm.workflow.checkpoint import Checkpoint
from satm.workflow.former_runs import continue_former, state_of
from satm.workflow.housekeeping import collect_garbage
from satm.workflow.runs import remove_run
from satm.workflow.workspace import opened
from tests.registry.helpers import start


class Said(NoProgress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


FACTS = {"run": "stopped"}
STATE = {"step": torch.tensor(5)}


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """A registry that has worked here, with a stopped run and its saved state."""
    path = tmp_path / "satm.db"
    with opened(path, device="cpu", must_exist=False) as workspace:
        store = workspace.store
        key = store.run_key(FACTS)
        store.finish_run(start(store, key), status="interrupted")
        Checkpoint(key).save(STATE)
    return path


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(original, tmp_path / "copy.db"))


def works(path: Path) -> None:
    with opened(path, device="cpu"):
        pass


def uuid(path: Path) -> str:
    with Registry.open(path, read_only=True) as store:
        return store.uuid


def test_a_copy_that_works_gets_an_identity_of_its_own_and_says_so_once(original: Path, copy: Path) -> None:
    before, said = uuid(original), Said()
    assert uuid(copy) == before
    for path in (copy, original, copy):
        with opened(path, device="cpu", progress=said):
            pass
    assert said.lines == [f"{copy} is a copy of {original}: it now has an identity and saved states of its own"]
    assert uuid(original) == before != uuid(copy)


def test_the_command_separates_a_copy(original: Path, copy: Path) -> None:
    assert run(["registry", "separate", "--registry", str(copy)]) == 0
    assert uuid(original) != uuid(copy)


def test_a_stopped_run_goes_on_in_both(original: Path, copy: Path) -> None:
    with Registry.open(copy) as store:
        store.separate()
        assert store.verify() == []
    with opened(copy, device="cpu") as workspace, Registry.open(original) as store:
        continue_former(workspace.store, FACTS)
        ours, theirs = workspace.store.run_key(FACTS), store.run_key(FACTS)
        assert ours != theirs
        assert workspace.store.find_run(ours).status == store.find_run(theirs).status == "interrupted"
        Checkpoint(ours).save({"step": torch.tensor(9)})
        assert Checkpoint(theirs).load()["step"] == 5
        Checkpoint(ours).remove()
        assert Checkpoint(theirs).load()["step"] == 5
        assert state_of(store, FACTS).path == Checkpoint(theirs).path


def test_gc_of_a_copy_leaves_the_states_of_the_other_registry(original: Path, copy: Path) -> None:
    with Registry.open(copy) as store:
        store.finish_run(store.runs()[0].id, status="done")
        store.separate()
        assert collect_garbage(store).others == 1
    with Registry.open(original) as store:
        assert Checkpoint(store.run_key(FACTS)).load()["step"] == 5


def test_a_file_that_was_moved_or_put_back_is_no_copy(original: Path, copy: Path, tmp_path: Path) -> None:
    moved = original.rename(tmp_path / "moved.db")
    works(moved)
    works(moved)
    (tmp_path / "link.db").symlink_to(moved)
    works(tmp_path / "link.db")
    shutil.copy(copy, moved)  # a backup takes its place
    works(moved)


def test_the_note_of_a_registry_that_is_gone_is_collected(original: Path, tmp_path: Path) -> None:
    with Registry.open(tmp_path / "other.db") as store:
        assert not [each for each in collect_garbage(store).garbage if "registry is gone" in each.why]
        original.unlink()
        assert [each.why for each in collect_garbage(store).garbage if each.path.parent.name == "registries"] == [
            "its registry is gone"
        ]
    assert list((home() / "registries").iterdir()) == []


def test_removing_a_run_of_a_copy_leaves_the_state_of_the_original(original: Path, copy: Path) -> None:
    with Registry.open(copy) as store:
        store.separate()
        (run,) = store.runs()
        remove_run(store, run)
    with Registry.open(original) as store:
        assert Checkpoint(store.run_key(FACTS)).load()["step"] == 5


def test_the_registry_of_a_ray_worker_keeps_the_identity_of_its_original(original: Path) -> None:
    before, said = uuid(original), Said()
    scratch = home() / "ray" / "scratch.db"
    scratch.parent.mkdir()
    shutil.copy(original, scratch)
    for path in (scratch, original):
        with opened(path, device="cpu", progress=said):
            pass
    assert uuid(scratch) == uuid(original) == before
    assert said.lines == []


def test_of_two_commands_on_one_copy_one_separates_it(copy: Path) -> None:
    with Registry.open(copy) as first, Registry.open(copy) as second:
        before = first.uuid
        assert first.separate(before)
        now = first.uuid
        assert second.separate(before) is None
        assert second.uuid == now


def test_a_copy_of_a_registry_that_cannot_be_read_is_separated(original: Path, copy: Path) -> None:
    before = uuid(original)
    original.write_bytes(b"damaged")
    works(copy)
    assert uuid(copy) != before


def test_a_registry_in_a_folder_of_somebody_else_is_another_one(
    original: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, samefile = uuid(original), Path.samefile

    def refuse(self: Path, other: Path) -> bool:
        if self == original.resolve():
            raise PermissionError(13, "Permission denied", str(self))
        return samefile(self, other)

    monkeypatch.setattr(Path, "samefile", refuse)
    works(copy)
    assert uuid(copy) != before
