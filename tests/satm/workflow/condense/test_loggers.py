"""Loggers are read back with their own tools, and one that fails costs nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import satm
from registry import Registry
from satm.cli import run
from satm.errors import ConfigError, UnknownName
from satm.loggers import LOGGERS, LoggerKind, parse
from satm.workflow.condense.judging import Judging, judging_recipe

ROOT = Path(__file__).parents[4]
STEPS = 3


def condense(folder: Path, *log: str, **more: Any) -> tuple[str, dict[int, float]]:
    """The id of a small run and its losses as the registry has them, by the outer steps done."""
    preset = satm.choose_preset(
        "digits",
        ipc=1,
        method="dm",  # needs no experts
        profile="smoke",
        settings={"outer_steps": STEPS},
    )
    done = satm.condense(preset, registry=folder / "satm.db", log=log, device="cpu", **more)
    with Registry.open(folder / "satm.db") as store:
        losses = {row.step + 1: row.value for row in store.metrics(done.run) if row.name == "loss"}
    assert sorted(losses) == [1, 2, 3]
    return done.run, losses


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SATM_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_tensorboard_holds_curves_images_and_settings(here: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run_id, losses = condense(
        here, "tensorboard:curves", judging=Judging(every=STEPS, recipe=judging_recipe(networks=1, epochs=2))
    )
    (folder,) = (here / "curves").iterdir()
    assert folder.name == f"digits-ipc1-dm-seed0-{run_id}"
    found = EventAccumulator(str(folder)).Reload()
    assert {each.step: each.value for each in found.Scalars("train/loss")} == pytest.approx(losses)
    assert [each.step for each in found.Scalars("validation/accuracy")] == [STEPS]
    assert [each.step for each in found.Images("synthetic_images")] == [0, 1, 2, 3]
    start = found.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"condense.settings.outer_steps" in start


@pytest.mark.slow
def test_mlflow_holds_metrics_images_and_parameters(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here}/mlflow.db")
    from mlflow import MlflowClient

    run_id, losses = condense(here, "mlflow:digits")
    client = MlflowClient()
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.tags["satm.run"] == run_id
    assert found.data.params["condense.settings.outer_steps"] == str(STEPS)
    history = client.get_metric_history(found.info.run_id, "train/loss")
    assert {each.step: each.value for each in history} == pytest.approx(losses)
    images = [each.path for each in client.list_artifacts(found.info.run_id, "images")]
    assert len([each for each in images if each.endswith(".png")]) == STEPS + 1


@pytest.mark.slow
def test_wandb_offline_keeps_the_run(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    run_id, losses = condense(here, "wandb")
    (folder,) = (here / "wandb").glob("offline-run-*")
    assert folder.name.endswith(run_id)
    history = [row for row in _wandb_rows(folder / f"run-{run_id}.wandb") if "train/loss" in row]
    assert {row["outer_step"]: row["train/loss"] for row in history} == pytest.approx(losses)
    assert len(list(folder.glob("files/media/images/synthetic_images*.png"))) == STEPS + 1


@pytest.mark.slow
def test_wandb_without_a_key_is_refused_unless_it_is_offline(tmp_path: Path) -> None:
    """In processes of its own, because wandb reads its settings once."""
    pytest.importorskip("wandb")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment |= {"HOME": str(tmp_path), "NETRC": str(tmp_path / "netrc"), "PYTHONPATH": str(ROOT)}

    def check() -> subprocess.CompletedProcess[str]:
        program = "from satm.loggers.wandb import check_key; check_key()"
        return subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    refused = check()
    assert refused.returncode == 1
    assert "no API key is known; run wandb login once, or wandb offline" in refused.stderr
    assert "prompt" not in refused.stderr
    subprocess.run(
        [sys.executable, "-m", "wandb", "offline"], cwd=tmp_path, env=environment, check=True, capture_output=True
    )
    offline = check()
    assert offline.returncode == 0, offline.stderr


def _wandb_rows(path: Path) -> list[dict[str, Any]]:
    """The history of an offline run. The file is a LevelDB log: blocks of records, each with its length and type."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, parts, rows = path.read_bytes(), 7, b"", []  # 7: the head of the file
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # the rest of a block is empty
            at += 32768 - at % 32768
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        parts, at = parts + data[at + 7 : at + 7 + length], at + 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = Record.FromString(parts)
            items = record.history.item
            rows.append({".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items})
            parts = b""
    return rows


class Broken:
    """A logger whose method `at` fails."""

    place = "nowhere"

    def __init__(self, at: str) -> None:
        self.at, self.calls = at, list[str]()
        self.call("open")

    def call(self, name: str) -> None:
        self.calls.append(name)
        if name == self.at:
            raise OSError("the disk is full")

    def metrics(self, rows: Any) -> None:
        self.call("metrics")

    def image(self, name: str, step: int, pixels: Any) -> None:
        self.call("image")

    def close(self, ending: str) -> None:
        self.call("close")


@pytest.mark.parametrize("at", ["open", "image", "metrics", "close"])
def test_a_logger_that_fails_costs_nothing(here: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    kind = LoggerKind(name="broken", summary="", module="json", install="", project="", open=lambda run: Broken(at))
    monkeypatch.setitem(LOGGERS._items, "broken", kind)
    said: list[str] = []
    from satm.progress import NoProgress

    progress = NoProgress()
    monkeypatch.setattr(progress, "say", said.append, raising=False)
    condense(here, "broken", progress=progress)
    failed = [line for line in said if line.startswith("--log broken failed (OSError: the disk is full)")]
    assert len(failed) == 1


def test_a_method_without_images_at_its_start_is_logged(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Broken] = []

    def start(run: Any) -> Broken:
        opened.append(Broken("nothing"))
        return opened[-1]

    kind = LoggerKind(name="whole", summary="", module="json", install="", project="", open=start)
    monkeypatch.setitem(LOGGERS._items, "whole", kind)
    preset = satm.choose_preset("digits", ipc=1, method="kcenter", profile="smoke")  # it adds a class a step
    satm.condense(preset, registry=here / "satm.db", log=("whole",), device="cpu")
    assert opened[0].calls[-1] == "close"


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("tensorbord", UnknownName, "did you mean tensorboard"),
        ("tensorboard:", ConfigError, "expected a name after the colon"),
        ("mlflow", ConfigError, "mlflow is not installed; install it with: pip install 'satm\\[mlflow\\]'"),
    ],
)
def test_a_logger_that_cannot_be_is_one_line(
    text: str, error: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("satm.loggers.base.find_spec", lambda name: None if name == "mlflow" else SimpleNamespace())
    with pytest.raises(error, match=words):
        parse([text])


def test_loggers_that_were_read_once_are_not_read_again() -> None:
    wanted = parse(["tensorboard:a:b"])
    assert wanted[0].project == "a:b"
    assert parse(wanted) == wanted


def test_the_command_refuses_it_before_any_work(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["condense", "digits", "--log", "tensorboard", "--log", "tensorboard:x", "--dry-run"]) == 2
    assert "--log tensorboard is given twice" in capsys.readouterr().err
    assert not list(here.iterdir())


def test_no_tool_is_imported_before_it_is_asked_for() -> None:
    program = "from satm.cli import run; run(['condense', '--help']); import sys; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "--log" in done.stdout
    assert not {"mlflow", "wandb", "tensorboard", "torch"} & set(done.stdout.split("'"))
