"""Tasks that run one after another in this process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from satm.errors import ConfigError, DataError, Interrupted, SatmError
from satm.workflow.fan_out import OneProcess, Outcome, Work, fan_out


@dataclass(frozen=True)
class Write:
    """Writes its name into the folder of the registry, or raises."""

    name: str
    error: SatmError | None = None

    def run(self, work: Work) -> None:
        if self.error:
            raise self.error
        (work.registry.parent / self.name).touch()


def test_a_task_that_fails_stops_no_other(tmp_path: Path) -> None:
    tasks = [Write("a"), Write("b", DataError("no images")), Write("c")]
    ended: list[Outcome] = []
    outcomes = fan_out(tasks, OneProcess(), Work(registry=tmp_path / "satm.db"), on_end=ended.append)
    assert [(each.task.name, each.error) for each in outcomes] == [("a", None), ("b", "no images"), ("c", None)]
    assert ended == outcomes
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c"]


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
