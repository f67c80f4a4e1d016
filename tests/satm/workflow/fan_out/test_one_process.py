"""Tasks that run one after another in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from satm.errors import ConfigError, DataError, Interrupted
from satm.progress import NoProgress
from satm.workflow.fan_out import OneProcess, Outcome, Work, fan_out
from tests.satm.workflow.fan_out.tasks import Write


def test_a_task_that_fails_stops_no_other(tmp_path: Path) -> None:
    tasks = [Write("a"), Write("b", DataError("no images")), Write("c", OSError(28, "No space left", "x")), Write("d")]
    ended: list[Outcome] = []
    outcomes = fan_out(tasks, OneProcess(), Work(registry=tmp_path / "satm.db"), on_end=ended.append)
    assert [each.error for each in outcomes] == [None, "no images", "x: No space left", None]
    assert ended == outcomes
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "d"]


def test_a_stop_stops_all(tmp_path: Path) -> None:
    ended: list[Outcome] = []
    tasks = [Write("a"), Write("b", Interrupted("stopped")), Write("c")]
    with pytest.raises(Interrupted):
        fan_out(tasks, OneProcess(), Work(registry=tmp_path / "satm.db"), on_end=ended.append)
    assert [each.task.name for each in ended] == ["a"]
    assert not (tmp_path / "c").exists()


def test_two_tasks_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="two tasks are called a"):
        fan_out([Write("a"), Write("a")], OneProcess(), Work(registry=tmp_path / "satm.db"))


class Kept(NoProgress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


def test_a_fault_of_ours_is_an_outcome_and_its_place_is_shown_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = Kept()
    work = Work(registry=tmp_path / "satm.db", progress=said)
    task = Write("a", ZeroDivisionError("division by zero"))
    (outcome,) = fan_out([task], OneProcess(), work)
    assert outcome.error
    assert outcome.error.startswith("ZeroDivisionError: division by zero; this is a fault of satm")
    assert not said.lines
    monkeypatch.setenv("SATM_TRACEBACK", "1")
    fan_out([task], OneProcess(), work)
    assert any("in run" in line for line in said.lines)
