"""Tuning: bad trials stop early, nothing is lost, one worker is deterministic, and test images are never used."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch

import satm
from registry import Registry
from satm.cli import run as command
from satm.errors import Busy, ConfigError, Diverged, Interrupted, RegistryError
from satm.progress import NoProgress
from satm.synthetic import SyntheticSet
from satm.workflow.chosen import Chosen
from satm.workflow.condense import run as condense_run
from satm.workflow.condense.judging import Judge, Point
from satm.workflow.tune import objective
from satm.workflow.tune import run as tune_run
from satm.workflow.tune.forecast import expected_runs
from satm.workflow.tune.run import TuneResult, spreads
from satm.workflow.tune.study import check_storage
from tests.satm.workflow.condense.test_registry_in_the_way import Watching

STEPS = 4
BAD = 1e6  # a learning rate that leaves no image
SEARCH = {"lr_images": f"0.01,{BAD}"}


@pytest.fixture
def nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of trained networks, the nearest image of the set gives the class: as good a judge, and quick."""

    def point(self: Judge, step: int, synthetic: SyntheticSet) -> Point:
        validation = self._job.data.validation
        images, labels = validation.batch(torch.arange(len(validation)))
        found = torch.cdist(images.flatten(1), synthetic.images.flatten(1)).argmin(1)
        right = synthetic.labels[found] == labels
        halves = tuple(float(half.double().mean()) for half in right.chunk(self.judging.recipe.repeats))
        return Point(step=step, accuracies=halves, rate=0.1)

    monkeypatch.setattr(Judge, "_point", point)


def tuned(path: Path, *, search: dict[str, str] = SEARCH, trials: int = 4, **named: Any) -> TuneResult:
    """dm on digits: no experts. Each set is judged after 1, 2, 3 and 4 outer steps."""
    preset = satm.choose_preset("digits", ipc=1, method="dm", profile="smoke", settings={"outer_steps": STEPS})
    small: dict[str, Any] = {"networks": 2, "epochs": 3, "eval_every": 1, "device": "cpu", "registry": path}
    return satm.tune(preset, search, trials=trials, **small | named)


@pytest.mark.usefixtures("nearest")
def test_a_bad_trial_stops_early_and_the_best_is_told(tmp_path: Path) -> None:
    path = tmp_path / "satm.db"
    search = {"lr_images": f"log:{BAD / 10}:{BAD * 10}"}  # the preset itself lies outside
    done = tuned(path, search=search, trials=4)
    assert [each.number for each in done.trials] == list(range(4))
    assert done.default is done.trials[0]
    assert (done.default.is_default, done.default.state) == (True, "complete")
    with Registry.open(path, read_only=True) as store:
        runs = {each.id: each for each in store.runs(kind="condense")}
        for trial in done.trials[1:]:
            assert BAD / 10 <= trial.settings["lr_images"] <= BAD * 10
            assert trial.state == "pruned"
            assert max(trial.curve) < STEPS
            (stopped,) = [each for each in runs.values() if each.config["tuning"]["trial"] == trial.number]
            assert (stopped.status, stopped.message) == ("interrupted", trial.reason)
            assert "is not in the better half" in trial.reason
            assert len(store.metrics(stopped.id, "loss")) == max(trial.curve)
    assert done.best is done.default
    assert (
        done.preset.config
        == satm.choose_preset("digits", ipc=1, method="dm", profile="smoke", settings={"outer_steps": STEPS}).config
    )
    found = spreads(done.best)
    assert (found.seeds, found.networks) == (2, 2)
    assert len(done.default.runs) == 2
    assert {runs[each].seed for each in done.default.runs} == {0, 1}

    study = optuna.load_study(study_name=done.study, storage=f"sqlite:///{done.storage}")  # as the dashboard does
    assert done.storage == tmp_path / "satm.tune.db"
    assert [each.state.name.lower() for each in study.trials] == [each.state for each in done.trials]
    assert study.best_value == pytest.approx(found.mean)
    assert study.user_attrs["search"] == search
    assert "no test image" in study.user_attrs["objective"]


def told(done: TuneResult) -> list[Any]:
    return [(each.number, each.state, each.settings, each.curve, each.accuracies, each.reason) for each in done.trials]


@pytest.mark.usefixtures("nearest")
def test_one_worker_is_deterministic_and_goes_on_after_a_stop(tmp_path: Path) -> None:
    search = {"lr_images": "log:0.001:10"}
    whole = tuned(tmp_path / "whole.db", search=search, trials=3)
    stopped = tmp_path / "stopped.db"
    progress = Watching(lambda done: setattr(progress, "stop", done == STEPS + 2))
    with pytest.raises(Interrupted, match=r"stopped in trial 0 of 3 .* the same command continues"):
        tuned(stopped, search=search, trials=3, progress=progress)
    again = Watching(lambda done: setattr(again, "stop", done == STEPS - 2 + 1))
    with pytest.raises(Interrupted, match="stopped in trial 1 of 3"):
        tuned(stopped, search=search, trials=3, progress=again)
    done = tuned(stopped, search=search, trials=3)
    assert told(done) == told(whole)
    complete = [each for each in done.trials if each.state == "complete"]
    assert spreads(done.best).mean == max(spreads(each).mean for each in complete)
    silent = Watching(lambda done: pytest.fail("an outer step is taken again"))
    assert told(tuned(stopped, search=search, trials=3, progress=silent)) == told(whole)
    other = tuned(tmp_path / "other.db", search=search, trials=2, sampler_seed=1)
    assert other.trials[0].accuracies == whole.trials[0].accuracies
    assert other.trials[1].settings != whole.trials[1].settings


@pytest.mark.usefixtures("nearest")
def test_a_trial_whose_process_was_killed_is_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "satm.db"

    class Killed(BaseException):
        pass

    def die(done: int) -> None:
        if done == 2:
            raise Killed

    with pytest.raises(Killed):
        tuned(path, trials=1, progress=Watching(die))
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path / 'satm.tune.db'}")
    (trial,) = study.trials
    assert trial.state.name == "RUNNING"
    taken = optuna.trial.Trial(study, trial._trial_id)
    gone = {"host": os.uname().nodename, "pid": 2**22 + 5, "process_started": 1.0}
    taken.set_user_attr("worker", gone)
    taken.set_user_attr("stopped", False)  # as if it had not been able to say so
    done = tuned(path, trials=1)
    assert [each.state for each in done.trials] == ["complete"]
    assert study.trials[0].user_attrs["deaths"] == 1


@pytest.mark.usefixtures("nearest")
def test_a_trial_that_kills_each_process_fails_and_is_left(tmp_path: Path) -> None:
    path = tmp_path / "satm.db"
    tuned(path, trials=1)
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path / 'satm.tune.db'}")
    trial = study.ask()
    trial.set_user_attr("worker", {"host": os.uname().nodename, "pid": 2**22 + 5, "process_started": 1.0})
    trial.set_user_attr("deaths", 2)
    done = tuned(path, trials=2)
    assert (done.trials[1].state, done.trials[1].reason) == ("failed", "its process died 3 times")


@pytest.mark.usefixtures("nearest")
def test_no_test_image_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true = tuned(tmp_path / "true.db", trials=2)
    load = condense_run.load_data

    def noisy(*arguments: Any, **named: Any) -> Any:
        data = load(*arguments, **named)
        noise = torch.randint(0, 256, data.test.images.shape, dtype=torch.uint8)
        return replace(data, test=replace(data.test, images=noise, labels=data.test.labels.flip(0)))

    monkeypatch.setattr(condense_run, "load_data", noisy)
    monkeypatch.setattr(tune_run, "load_data", noisy)
    assert [row[1:5] for row in told(tuned(tmp_path / "noise.db", trials=2))] == [row[1:5] for row in told(true)]


@pytest.mark.usefixtures("nearest")
def test_a_trial_that_diverges_ends_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    condense = objective.condense

    def fragile(preset: Any, **named: Any) -> Any:
        if preset.config.settings.lr_images == BAD:
            raise Diverged("the loss is not finite")
        return condense(preset, **named)

    monkeypatch.setattr(objective, "condense", fragile)
    done = tuned(tmp_path / "satm.db", trials=2)
    failed = [each for each in done.trials if each.settings.get("lr_images") == BAD]
    assert failed
    assert {(each.state, each.reason) for each in failed} == {("failed", "the loss is not finite")}

    def broken(preset: Any, **named: Any) -> Any:
        raise Diverged("always")

    monkeypatch.setattr(objective, "condense", broken)
    with pytest.raises(Diverged, match="always"):  # of the preset itself: there is nothing to tune
        tuned(tmp_path / "other.db")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": (0,)}, "seeds 0: expected two or more different whole numbers"),
        ({"seeds": (1, 1)}, "seeds 1, 1: expected two or more"),
        ({"networks": 0}, "0 repeats"),
        ({"trials": 0}, "0 trials"),
        ({"workers": 0}, "0 workers"),
    ],
)
def test_wrong_numbers_are_refused_and_nothing_is_written(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        tuned(tmp_path / "satm.db", **changes)
    assert not [each for each in tmp_path.iterdir() if each.name != "home"]


def test_a_storage_that_is_none_is_refused(tmp_path: Path) -> None:
    registry, text = tmp_path / "satm.db", tmp_path / "notes.txt"
    Registry.open(registry).close()
    text.write_text("no database " * 100)
    other = tmp_path / "other.db"
    Registry.open(other).close()
    for place, message in [
        (registry, "is the registry; studies need a file of their own"),
        (other, "is another database, no storage of Optuna"),
        (text, "is no storage of Optuna"),
        (tmp_path, "is a folder"),
        (tmp_path / "no" / "file.db", "does not exist"),
        (tmp_path / "50%.db", "cannot open a path with %"),
    ]:
        with pytest.raises(RegistryError, match=message):
            check_storage(place, registry)
    check_storage(tmp_path / "new.db", registry)


def test_the_forecast_counts_what_halving_leaves() -> None:
    # The first seed: a quarter by all, a quarter by half, a half by a quarter; an eighth also makes the other seed.
    assert expected_runs(400, 100, 2) == pytest.approx(0.25 + 0.25 / 2 + 0.5 / 4 + 1 / 8)
    assert expected_runs(10, 100, 3) == pytest.approx(1 + 2)


def line(tmp_path: Path, *words: str) -> list[str]:
    small = ["--ipc", "1", "--method", "dm", "--profile", "smoke", "--set", "outer_steps=2", "--trials", "2"]
    small += ["--networks", "1", "--epochs", "4", "--threads", "1", "--device", "cpu"]
    return ["tune", "digits", *small, "--registry", str(tmp_path / "satm.db"), *words]


def test_the_command_writes_the_winner_as_a_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = tmp_path / "best.json"
    words = line(tmp_path, "--search", "lr_images=log:0.01:1", "--output", str(best))
    assert command([*words, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "2 trials × 2 seeds of dm/digits/ipc1 at profile smoke, judged every 1 outer steps" in said
    assert "lr_images in log:0.01:1" in said
    assert not (tmp_path / "satm.db").exists()
    assert command(words) == 0
    out = capsys.readouterr().out
    assert "No test image was used." in out
    assert "the preset itself" in out
    assert f"next: satm condense --config {best} --seeds 2-4" in out
    chosen = Chosen.read(best)
    assert chosen.preset.config.method == "dm"
    assert command(["condense", "--config", str(best), "--print-config"]) == 0
    assert best.read_text() == capsys.readouterr().out
    assert command(["runs", "list", "--registry", str(tmp_path / "satm.db")]) == 0
    assert "dm" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing to search"),
        (["--search", "lr_imges=0:1"], "did you mean settings.lr_images"),
        (["--search", "lr_images=2:1"], "the range is empty"),
        (["--search", "batch_real=1:8"], "whole number"),
        (["--search", "outer_steps=int:1:8"], "both in --set and in --search"),
        (["--search", "lr_images=0.1:1", "--seeds", "3"], "seeds 3: expected two or more"),
        (["--search", "lr_images=0.1:1", "--storage", "no/such.db"], "does not exist"),
        (["--search", "lr_images=0.1:1", "--output", "no/such.json"], "its folder does not exist"),
        (["--search", "lr_images=0.1:1", "--set", "validation=0"], "holds out no validation images"),
    ],
)
def test_a_wrong_command_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert command(line(tmp_path, *words)) in (1, 2)
    error = capsys.readouterr().err.strip()
    assert said in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "satm.db").exists()


@pytest.mark.slow
def test_two_workers_share_the_trials(tmp_path: Path) -> None:
    done = tuned(tmp_path / "satm.db", trials=4, workers=2, threads=1, progress=NoProgress())
    assert [each.number for each in done.trials] == [0, 1, 2, 3]
    assert {each.state for each in done.trials} <= {"complete", "pruned"}
    assert done.default.state == "complete"
    with Registry.open(tmp_path / "satm.db", read_only=True) as store:
        workers = {each.pid for each in store.runs(kind="condense")}
    assert os.getpid() not in workers
    alone = tuned(tmp_path / "alone.db", trials=1)
    assert done.default.accuracies == alone.default.accuracies


@pytest.mark.usefixtures("nearest")
def test_the_run_of_an_equal_trial_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    condense, said = objective.condense, Watching(lambda steps: None)
    busy = [Busy("the same command is running in another process", str(tmp_path / "other.lock"))]

    def busy_once(*arguments: Any, **named: Any) -> Any:
        if busy:
            raise busy.pop()
        return condense(*arguments, **named)

    monkeypatch.setattr(objective, "condense", busy_once)
    done = tuned(tmp_path / "satm.db", trials=1, progress=said)
    assert done.default.state == "complete"
    assert "trial 0, seed 0, is being made by another process; waiting for it" in said.said
