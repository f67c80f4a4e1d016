"""Checkpoints have two generations: damage and kills cost at most the newest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from satm.errors import SatmError
from satm.progress import NoProgress
from satm.workflow.checkpoint import Checkpoint


class Listening(NoProgress):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


def state(step: int) -> dict[str, torch.Tensor]:
    return {"step": torch.tensor(step), "images": torch.full((5,), float(step))}


@pytest.fixture
def checkpoint() -> Checkpoint:
    checkpoint = Checkpoint("key")
    assert checkpoint.load() is None
    for step in (1, 2, 3):
        checkpoint.save(state(step))
    return checkpoint


def steps(checkpoint: Checkpoint) -> list[int]:
    return [int(each["step"]) for each in checkpoint.states()]


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def test_the_newest_two_states_are_kept(checkpoint: Checkpoint) -> None:
    assert steps(checkpoint) == [3, 2]
    found = checkpoint.load()
    assert found is not None
    assert torch.equal(found["images"], state(3)["images"])


def test_a_damaged_newest_state_costs_one_generation_and_it_says_so(checkpoint: Checkpoint) -> None:
    damage(checkpoint.path)
    listening = Listening()
    found = checkpoint.load(listening)
    assert found is not None
    assert int(found["step"]) == 2
    assert len(listening.said) == 1
    assert "the checksum of images differs" in listening.said[0]
    Checkpoint("key").save(state(4))  # the damaged one never replaces a whole one
    assert steps(checkpoint) == [4, 2]


def test_two_damaged_states_are_one_line(checkpoint: Checkpoint) -> None:
    damage(checkpoint.path)
    damage(checkpoint.previous)
    with pytest.raises(SatmError, match=r"are damaged; start over with --fresh$"):
        checkpoint.load()


@pytest.mark.parametrize("rename", [1, 2])
def test_a_kill_at_a_rename_leaves_a_state(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, rename: int
) -> None:
    """Both renames of a save are refused, one after the other, as if the process ended there."""

    class Killed(BaseException):
        pass

    left, replace = rename, os.replace

    def limited(source: Path, target: Path) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise Killed
        replace(source, target)

    monkeypatch.setattr(os, "replace", limited)
    with pytest.raises(Killed):
        checkpoint.save(state(4))
    monkeypatch.undo()
    assert steps(checkpoint) == ([3, 2] if rename == 1 else [3])
    checkpoint.save(state(4))
    assert steps(checkpoint)[0] == 4


def test_a_state_from_before_the_checksums_is_still_read() -> None:
    checkpoint = Checkpoint("old")
    checkpoint.path.parent.mkdir(parents=True)
    save_file(state(7), checkpoint.path)
    assert steps(checkpoint) == [7]


def test_removing_leaves_no_state(checkpoint: Checkpoint) -> None:
    checkpoint.remove()
    assert checkpoint.load() is None
    assert list(checkpoint.path.parent.iterdir()) == []
