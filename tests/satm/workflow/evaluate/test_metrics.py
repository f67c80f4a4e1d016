"""Evaluation resumes by metric: a metric that is not stored is added, and nothing else changes."""

from __future__ import annotations

import json
import math
import sqlite3

import pytest

import satm
from evaluation import METRICS, RECIPES, Metric, confusion_matrix
from registry import Registry
from satm.cli import run
from satm.data import load
from satm.errors import PluginError
from satm.progress import NoProgress

EPOCHS = RECIPES.get("smoke").epochs
ASKED = {"repeats": 2, "baseline": "random", "recipe": "smoke", "learning_rate": 0.05}


class Counted(NoProgress):
    """Counts the epochs of all bars, and keeps what is said."""

    def __init__(self):
        self.epochs, self.lines = 0, []

    def bar(self, name, total, *, done=0):
        return Advancing(self)

    def say(self, message):
        self.lines.append(message)


class Advancing:
    def __init__(self, counted):
        self.counted = counted

    def advance(self, steps=1, **facts):
        self.counted.epochs += steps

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """A set of random digits, evaluated on its own network, beside random images."""
    folder = tmp_path_factory.mktemp("metrics")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SATM_HOME", str(folder / "home"))
        preset = satm.choose_preset(
            "digits", ipc=1, method="random", profile="smoke", settings={"architecture": "convnet3_w4"}
        )
        satm.condense(preset, registry=folder / "satm.db")
        satm.evaluate(registry=folder / "satm.db", **ASKED)
    return folder


@pytest.fixture
def registry(evaluated, tmp_path, monkeypatch):
    monkeypatch.setenv("SATM_HOME", str(evaluated / "home"))
    path = tmp_path / "copy.db"
    path.write_bytes((evaluated / "satm.db").read_bytes())
    return path


def stored(registry, where="1"):
    with sqlite3.connect(registry) as db:
        return set(db.execute(f"select * from results where {where}"))


def numbers(registry):
    with sqlite3.connect(registry) as db:
        return set(db.execute("select memory, repeat, metric, value, seed, step_size from results"))


def forget(registry, where):
    with sqlite3.connect(registry) as db:
        db.execute(f"delete from results where {where}")


def evaluate(registry, **changes):
    counted = Counted()
    satm.evaluate(registry=registry, progress=counted, **ASKED | changes)
    return counted.epochs / EPOCHS, counted.lines


def test_every_network_has_a_row_for_every_metric(registry):
    found = {(memory, repeat, metric) for memory, repeat, metric, *_ in numbers(registry)}
    assert found == {(m, k, name) for m in ("condensed", "random") for k in range(2) for name in METRICS}
    assert evaluate(registry)[0] == 0


@pytest.mark.parametrize(
    ("gone", "trained"),
    [
        ("metric = 'negative_log_likelihood'", 4),
        ("metric = 'expected_calibration_error' and memory = 'random' and repeat = 1", 1),
        ("metric != 'accuracy' and memory = 'condensed'", 2),
        ("metric = 'expected_calibration_error' and repeat = 0", 2),
        ("memory = 'random'", 2),
    ],
)
def test_a_metric_that_is_not_stored_is_added_and_no_row_is_touched(registry, gone, trained):
    whole, values = stored(registry), numbers(registry)
    forget(registry, gone)
    kept = stored(registry)
    assert kept < whole
    count, said = evaluate(registry)
    assert count == trained
    assert numbers(registry) == values
    assert kept <= stored(registry)
    assert any("trained again" in line for line in said) == ("metric" in gone)
    assert not any("but" in line for line in said)
    assert evaluate(registry)[0] == 0


def test_only_the_repeats_that_are_wanted_are_trained_again(registry):
    forget(registry, "metric = 'negative_log_likelihood'")
    assert evaluate(registry, repeats=1)[0] == 2


def test_a_metric_that_needs_only_predictions_trains_nothing(registry, monkeypatch):
    values = numbers(registry)
    forget(registry, "metric = 'macro_accuracy' or (metric = 'accuracy' and repeat = 0)")
    assert evaluate(registry)[0] == 0
    assert numbers(registry) == values
    first = Metric(
        name="first_class", summary="", of=lambda z, y: float((z.argmax(1) == 0).double().mean()), needs="predictions"
    )
    monkeypatch.setitem(METRICS._items, "first_class", first)
    count, said = evaluate(registry)
    assert count == 0
    assert not any("trained again" in line for line in said)
    with Registry.open(registry, read_only=True) as store:
        rows = {(row.memory, row.repeat): row.value for row in store.results(metric="first_class")}
        stored_predictions = store.predictions()
    assert rows == {(row.memory, row.repeat): (row.predicted == 0).mean() for row in stored_predictions}
    assert len(rows) == 4


def test_predictions_reproduce_every_accuracy_exactly(registry):
    with Registry.open(registry, read_only=True) as store:
        found = store.predictions(memory="condensed", architecture="convnet3_w4")
        accuracies = {row.repeat: row.value for row in store.results(metric="accuracy", memory="condensed")}
    assert {row.repeat: row.accuracy for row in found} == accuracies
    assert [row.predicted.dtype.itemsize for row in found] == [1, 1]
    assert len({row.test for row in found}) == 1
    test = load("digits").test
    assert found[0].targets.tolist() == test.labels.tolist()
    for row in found:
        matrix = confusion_matrix(row.predicted, row.targets, row.num_classes)
        assert matrix.trace() / len(test) == row.accuracy
        assert matrix.sum(1).tolist() == test.labels.bincount().tolist()


def test_predictions_can_be_left_out_and_asked_for_later(registry):
    with sqlite3.connect(registry) as db:
        db.execute("delete from predictions")
    whole = stored(registry)
    assert evaluate(registry)[0] == 0  # they alone are no reason to train
    assert evaluate(registry, repeats=3, save_predictions=False)[0] == 2
    with Registry.open(registry, read_only=True) as store:
        assert store.predictions() == []
    assert evaluate(registry, save_predictions=True)[0] == 4
    assert whole < stored(registry)
    assert evaluate(registry, save_predictions=True)[0] == 0
    with Registry.open(registry, read_only=True) as store:
        assert [(row.memory, row.repeat) for row in store.predictions()] == [
            (memory, k) for memory in ("condensed", "random") for k in range(2)
        ]


def test_a_diverged_network_is_stored_counted_and_not_trained_again(registry, capsys):
    asked = {"learning_rate": 1e6, "baseline": None}
    _, said = evaluate(registry, **asked)
    assert any(line.startswith("convnet3_w4 (repeat 0) diverged at learning rate 1e+06 (fixed)") for line in said)
    assert evaluate(registry, **asked)[0] == 0
    (row,) = (row for row in satm.results(registry=registry, metric="accuracy") if row.diverged)
    assert (row.n, row.diverged, row.mean_all, row.policy, row.rate) == (0, 2, 0.1, "fixed", 1e6)
    assert math.isnan(row.mean)
    matrix = satm.evaluate_matrix(
        architectures=["convnet3_w4"], recipe="smoke", repeats=2, learning_rate=1e6, registry=registry, dry_run=True
    )
    (line,) = matrix.sets
    score = line.score("convnet3_w4")
    assert (score.diverged, score.survivors, score.estimate.mean) == (2, (), 0.1)
    command = ["eval-arch", "--arch", "convnet3_w4", "--recipe", "smoke", "--repeats", "2", "--learning-rate", "1e6"]
    assert run([*command, "--threads", "1", "--registry", str(registry), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "fixed 1e+06  10.0  sd 0.0  1×2  a" in out
    assert "2 of 2 networks diverged and count as chance" in out


def test_the_matrix_adds_metrics_too(registry):
    asked = {"repeats": 2, "baseline": "random", "recipe": "smoke", "learning_rate": 0.05, "registry": registry}
    values = numbers(registry)
    forget(registry, "metric = 'negative_log_likelihood' and repeat = 0")
    counted = Counted()
    matrix = satm.evaluate_matrix(architectures=["convnet3_w4"], progress=counted, **asked)
    assert counted.epochs == 2 * EPOCHS
    assert numbers(registry) == values
    assert any("4 of 4 networks are stored" in line for line in counted.lines)
    again = Counted()
    assert satm.evaluate_matrix(architectures=["convnet3_w4"], progress=again, **asked) == matrix
    assert again.epochs == 0
    with sqlite3.connect(registry) as db:
        accuracies = dict(db.execute("select repeat, value from results where metric='accuracy' and memory='random'"))
    assert matrix.randoms[0].accuracies == {"convnet3_w4": {0: accuracies}}


def test_another_accuracy_than_the_stored_one_is_said_and_not_stored(registry):
    with sqlite3.connect(registry) as db:
        db.execute("update results set value = 0.0123 where metric = 'accuracy' and memory = 'random' and repeat = 0")
    forget(registry, "metric = 'negative_log_likelihood'")
    with sqlite3.connect(registry) as db:
        db.execute("delete from predictions")
    kept = stored(registry)
    _, said = evaluate(registry)
    (line,) = (line for line in said if "but" in line)
    assert line.startswith("convnet3_w4 (repeat 0) has accuracy 0.")
    assert "but 0.0123 is stored and stays" in line
    assert kept < stored(registry)
    with Registry.open(registry, read_only=True) as store:  # predictions never contradict a stored accuracy
        assert {(row.memory, row.repeat) for row in store.predictions()} == {
            ("condensed", 0),
            ("condensed", 1),
            ("random", 1),
        }


def test_a_metric_that_fails_costs_no_other_metric_of_its_network(registry, monkeypatch):
    def fail(logits, targets):
        raise ZeroDivisionError("no class")

    values = numbers(registry)
    monkeypatch.setitem(METRICS._items, "broken", Metric(name="broken", summary="", of=fail))
    forget(registry, "memory = 'condensed'")
    with pytest.raises(PluginError, match=r"^metric 'broken' of .* failed \(ZeroDivisionError: no class\); repair"):
        evaluate(registry, repeats=1)
    assert numbers(registry) == {row for row in values if row[0] == "random" or row[1] == 0}


def test_a_metric_that_is_not_finite_is_computed_only_once(registry, monkeypatch):
    values = numbers(registry)
    monkeypatch.setitem(METRICS._items, "odd", Metric(name="odd", summary="", of=lambda logits, targets: math.nan))
    forget(registry, "memory = 'condensed' and repeat = 1")  # one network is new, three lack only the metric
    count, said = evaluate(registry)
    assert count == 4
    assert said.count("convnet3_w4 (repeat 0): odd is nan and is not stored") == 2
    assert numbers(registry) == values
    assert evaluate(registry)[0] == 0
    forget(registry, "metric = 'negative_log_likelihood' and memory = 'random' and repeat = 0")
    assert evaluate(registry)[0] == 1
    assert numbers(registry) == values
    assert evaluate(registry)[0] == 0


def test_percent_is_for_fractions(registry, capsys):
    assert run(["results", "--format", "markdown", "--registry", str(registry)]) == 0
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    shown = {(line[4], line[8]): line[9] for line in lines[2:]}
    means = {(row.memory, row.metric): row for row in satm.results(registry=registry)}
    assert lines[0][8:10] == ["metric", "mean"]  # the unit stands with each value
    assert set(shown) == set(means)
    for key, value in shown.items():
        row = means[key]
        if row.metric == "negative_log_likelihood":
            assert value == f"{row.mean:.3f} nats"
        else:
            assert value == f"{100 * row.mean:.1f} %"
    assert run(["results", "--metric", "negative_log_likelihood", "--format", "json", "--registry", str(registry)]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["mean"] for row in rows] == [means[row["memory"], row["metric"]].mean for row in rows]


def test_a_metric_that_no_result_can_have_is_refused(registry, capsys):
    def asked(metric):
        return run(["results", "--metric", metric, "--memory", "herding", "--registry", str(registry)])

    assert asked("accuracy") == 0
    with sqlite3.connect(registry) as db:
        db.execute("update results set metric = 'sharpness' where metric = 'macro_accuracy'")
    assert asked("sharpness") == 0
    assert asked("macro_accuracy") == 0
    capsys.readouterr()
    assert asked("acuracy") == 2
    assert "unknown metric 'acuracy': did you mean accuracy" in capsys.readouterr().err
    assert asked("nonsense") == 2
    said = capsys.readouterr().err
    assert all(f" {name}," in said for name in ("accuracy", "coverage", "final_accuracy", "macro_accuracy"))


@pytest.mark.parametrize(
    ("option", "wrong", "said", "right"),
    [
        ("--profile", "smok", "unknown profile 'smok': did you mean smoke", "paper"),
        ("--arch", "alexnt", "unknown architecture 'alexnt': did you mean alexnet", "alexnet"),
        ("--memory", "randm", "unknown memory 'randm': did you mean random", "herding"),
    ],
)
def test_a_wrong_filter_is_not_an_empty_table(registry, capsys, option, wrong, said, right):
    assert run(["results", option, wrong, "--registry", str(registry)]) == 2
    assert said in capsys.readouterr().err
    assert run(["results", option, right, "--registry", str(registry)]) == 0  # known, and nothing is stored under it


def test_eval_shows_accuracy_only(registry, capsys):
    asked = ["eval", "--repeats", "2", "--recipe", "smoke", "--learning-rate", "0.05", "--baseline", "random"]
    assert run([*asked, "--threads", "1", "--registry", str(registry)]) == 0
    out = capsys.readouterr().out
    assert "test accuracy in %" in out
    assert not any(name in out for name in ("macro_accuracy", "calibration", "nats"))
