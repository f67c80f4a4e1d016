"""`--log` of evaluations and of a run that goes on: what reaches a logger, under which names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import satm
from registry import Registry
from satm.cli import run
from satm.cli.runs import _without
from satm.errors import Interrupted
from satm.loggers import LOGGERS, LoggedRun, LoggerKind
from satm.workflow.logging import logged_names
from tests.satm.workflow.condense.test_registry_in_the_way import Watching


class Kept:
    """Keeps what it is given."""

    place = "here"

    def __init__(self, about: LoggedRun) -> None:
        self.about, self.rows, self.ending = about, list[tuple[int, str, float]](), ""

    def metrics(self, rows: Sequence[tuple[int, str, float]]) -> None:
        self.rows += rows

    def image(self, name: str, step: int, pixels: Any) -> None:
        pass

    def close(self, ending: str) -> None:
        self.ending = ending


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Kept]:
    """Every logger that is opened; the registry and the home are in `tmp_path`."""
    found: list[Kept] = []

    def start(about: LoggedRun) -> Kept:
        found.append(Kept(about))
        return found[-1]

    monkeypatch.setenv("SATM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SATM_REGISTRY", str(tmp_path / "satm.db"))
    kind = LoggerKind(name="kept", summary="", module="json", install="", project="satm", open=start)
    monkeypatch.setitem(LOGGERS._items, "kept", kind)
    return found


def test_evaluations_are_logged_as_they_are_stored(opened: list[Kept], tmp_path: Path) -> None:
    small = {"architecture": "convnet3_w4"}
    preset = satm.choose_preset("digits", ipc=1, method="random", profile="smoke", settings=small)
    made = satm.condense(preset, registry=tmp_path / "satm.db", device="cpu").record
    quick = ["--recipe", "smoke", "--learning-rate", "0.05", "--threads", "1", "--log", "kept:mine"]
    assert run(["eval", "--repeats", "2", *quick]) == 0
    assert run(["eval-arch", "--arch", "convnetbn3_w4", "--repeats", "1", *quick]) == 0
    assert run(["eval-cl", "--steps", "2", "--orders", "1", "--networks", "1", *quick]) == 0
    with Registry.open(tmp_path / "satm.db", read_only=True) as store:
        stored = store.results(set=made.id)
    for kept, kind, counts in zip(
        opened, ("eval", "eval-arch", "eval-cl"), ("network", "network", "incremental_step"), strict=True
    ):
        about = kept.about
        assert (about.name, about.project, about.counts) == (f"digits-ipc1-random-seed0-{kind}", "mine", counts)
        assert about.flat["set"] == made.name
        assert kept.ending == "done"
        rows = [row for row in stored if row.run_id == about.id and "_on_step_" not in row.metric]
        number = f".{rows[0].repeat}" if kind == "eval-cl" else ""
        assert sorted(kept.rows) == sorted(
            (
                row.step if kind == "eval-cl" else row.repeat + 1,
                f"{row.protocol}/{row.architecture}/condensed/{row.metric}{number}",
                row.value,
            )
            for row in rows
        )
        assert any("accuracy" in name for _, name, _ in kept.rows)


def test_a_run_that_goes_on_is_logged(opened: list[Kept], tmp_path: Path) -> None:
    preset = satm.choose_preset("digits", ipc=1, method="dm", profile="smoke", settings={"outer_steps": 3})
    stopped = Watching(lambda done: setattr(stopped, "stop", done == 1))
    with pytest.raises(Interrupted):
        satm.condense(preset, registry=tmp_path / "satm.db", device="cpu", progress=stopped)
    assert run(["runs", "resume", "latest", "--log", "kept"]) == 0
    (kept,) = opened
    assert kept.about.first == 1
    assert {step for step, name, _ in kept.rows if name == "loss"} == {2, 3}
    assert kept.ending == "done"


def test_a_command_without_log_is_not_resumed_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["satm", "score", "x"])
    with Registry.open(tmp_path / "satm.db") as store:
        facts = {"config": {}, "profile": "smoke", "dataset": "digits", "seed": 0, "device": "cpu", "environment": {}}
        store.finish_run(store.start_run(key="k", kind="score", command="satm score x", **facts), status="interrupted")
    assert run(["runs", "resume", "latest", "--log", "tensorboard"]) == 2
    assert "--log: satm score sends nothing to a logger; leave --log out" in capsys.readouterr().err


def test_the_words_of_a_stored_command_without_some_options() -> None:
    words = ("eval", "x", "--registry", "a.db", "--log=wandb", "--repeats", "2", "--log", "mlflow")
    assert _without(words, "--registry") == ["eval", "x", "--log=wandb", "--repeats", "2", "--log", "mlflow"]
    assert _without(words, "--registry", "--log") == ["eval", "x", "--repeats", "2"]


def test_names_hold_only_letters_that_every_tool_takes() -> None:
    found = logged_names("class-incremental/er[order field]", "timm/x", "condensed[:3]", {"a": 1.0, "b": float("nan")})
    assert found == {"class-incremental/er_order_field/timm/x/condensed_3/a": 1.0}
