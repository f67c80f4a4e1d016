"""A registry that is busy, full or gone costs a run nothing: its state is saved, its measurements wait."""

from __future__ import annotations

import re
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import satm
from registry import Registry
from satm.errors import Interrupted, RegistryError
from satm.methods import METHODS
from satm.progress import NoProgress
from satm.workflow import patience
from satm.workflow.condense import outer_loop
from satm.workflow.condense.run import CondensationResult

STEPS = 6


class Watching(NoProgress):
    """Calls `at` with the number of outer steps done after each, and `heard` with each message."""

    def __init__(self, at: Callable[[int], None], heard: Callable[[str], None] = lambda message: None) -> None:
        self.said: list[str] = []
        self.stop = False
        self._at, self._heard, self._steps = at, heard, 0

    def bar(self, name: str, total: int, *, done: int = 0) -> Any:
        outer = self

        class Bar:
            def advance(self, steps: int = 1, **facts: float | str) -> None:
                if name == "condense":
                    outer._steps += steps
                    outer._at(outer._steps)

            def draw(self, values: Mapping[str, float]) -> None:
                pass

            def __enter__(self) -> Any:
                return self

            def __exit__(self, *_: object) -> None:
                pass

        return Bar()

    def say(self, message: str) -> None:
        self.said.append(message)
        self._heard(message)

    def stopping(self) -> bool:
        return self.stop


class Holder:
    """Another process, as SQLite sees it: a connection that holds the write lock."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)

    def take(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def leave(self) -> None:
        self._connection.execute("ROLLBACK")


@contextmanager
def holding(path: Path) -> Iterator[Holder]:
    Registry.open(path).close()
    holder = Holder(path)
    yield holder
    holder._connection.close()


@pytest.fixture(autouse=True)
def saves_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outer_loop, "SAVE_SECONDS", -1.0)
    monkeypatch.setattr(patience, "SAY_AFTER", 0.05)
    monkeypatch.setattr(patience, "STOP_AFTER", 0.0)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SATM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def condensed(path: Path, progress: NoProgress | None = None) -> CondensationResult:
    preset = satm.choose_preset("digits", ipc=1, method="dm", profile="smoke", settings={"outer_steps": STEPS})
    return satm.condense(preset, registry=path, device="cpu", progress=progress or NoProgress())


@pytest.mark.slow
@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_makes_its_set_from_the_state_after_the_last_step(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise RegistryError("no")

    preset = satm.choose_preset("digits", ipc=1, method=method, profile="smoke")
    whole = satm.condense(preset, registry=tmp_path / "whole.db", device="cpu").record.id
    add_set = Registry.add_set
    monkeypatch.setattr(Registry, "add_set", refused)
    with pytest.raises(RegistryError, match="no"):
        satm.condense(preset, registry=tmp_path / "stopped.db", device="cpu")
    monkeypatch.setattr(Registry, "add_set", add_set)
    assert satm.condense(preset, registry=tmp_path / "stopped.db", device="cpu").record.id == whole


def steps_of(path: Path) -> list[int]:
    with Registry.open(path, read_only=True) as registry:
        (run,) = registry.runs(kind="condense")
        assert run.seconds > 0
        return [row.step for row in registry.metrics(run.id, "loss")]


def saved(home: Path) -> list[Path]:
    return list((home / "runs").glob("*.safetensors"))


def test_a_registry_that_is_busy_in_between_loses_no_measurement(tmp_path: Path, home: Path) -> None:
    path = tmp_path / "satm.db"
    with holding(path) as holder:
        progress = Watching(lambda done: {1: holder.take, STEPS - 1: holder.leave}.get(done, lambda: None)())
        result = condensed(path, progress)
    assert [line for line in progress.said if "wait in memory" in line] != []
    assert sum("wait in memory" in line for line in progress.said) == 1
    assert steps_of(path) == list(range(STEPS))
    assert result.new
    assert not saved(home)


def test_a_registry_that_is_busy_at_the_end_is_waited_for(tmp_path: Path, home: Path) -> None:
    path = tmp_path / "satm.db"
    with holding(path) as holder:

        def heard(message: str) -> None:
            if "waiting for it" in message:
                assert saved(home)  # the state after the last step
                threading.Timer(0.2, holder.leave).start()

        result = condensed(path, Watching(lambda done: holder.take() if done == 2 else None, heard))
    assert steps_of(path) == list(range(STEPS))
    assert result.new
    assert not saved(home)


def test_the_user_can_stop_the_wait_and_nothing_is_lost(tmp_path: Path, home: Path) -> None:
    path = tmp_path / "satm.db"
    with holding(path) as holder:
        progress = Watching(lambda done: holder.take() if done == 2 else None)

        def heard(message: str) -> None:
            progress.stop = progress.stop or "waiting for it" in message

        progress._heard = heard
        with pytest.raises(Interrupted, match="continues from what is saved"):
            condensed(path, progress)
        assert saved(home)
        assert steps_of(path) == [0]
        holder.leave()
    again = Watching(lambda done: pytest.fail("an outer step is taken again"))
    condensed(path, again)
    assert f"continuing from outer step {STEPS} of {STEPS}" in again.said
    assert steps_of(path) == list(range(STEPS))


def fill(path: Path) -> None:
    """Leave the registry no page to grow by; SQLite then says what it says of a full disk."""
    real = Registry._lock

    def full(self: Registry, timeout: float | None) -> None:
        self._db.execute("PRAGMA max_page_count = 1")
        real(self, timeout)

    Registry._lock = full  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("harm", "cause"),
    [
        (lambda path: path.rename(path.with_name("moved.db")), "was deleted, moved or replaced"),
        (lambda path: shutil.copy(path, path.with_name("copy")) and path.with_name("copy").replace(path), "replaced"),
        (fill, "the disk is full"),
    ],
    ids=["moved", "replaced", "full"],
)
def test_a_registry_that_cannot_be_written_ends_the_run_with_its_state_and_the_cause(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Path], None], cause: str
) -> None:
    path = tmp_path / "satm.db"
    monkeypatch.setattr(Registry, "_lock", Registry._lock)  # undoes what `fill` does
    with pytest.raises(RegistryError, match=cause) as raised:
        condensed(path, Watching(lambda done: harm(path) if done == 3 else None))
    said = re.search(r"the state after (outer step \d of 6) is saved", str(raised.value))
    assert said is not None
    assert saved(home)
    monkeypatch.undo()
    monkeypatch.setenv("SATM_HOME", str(home))
    if (moved := path.with_name("moved.db")).exists():
        moved.rename(path)
    again = Watching(lambda done: None)
    result = condensed(path, again)
    assert f"continuing from {said[1]}" in again.said
    assert steps_of(path)[-1] == STEPS - 1
    if cause.startswith("was deleted"):  # once is enough: the bits do not depend on what was in the way
        assert condensed(tmp_path / "free.db").record.id == result.record.id
