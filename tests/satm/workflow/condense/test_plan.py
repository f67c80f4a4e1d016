"""`satm plan`: the model of an outer step's cost, and the command before and after a run."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from satm import choose_preset
from satm.cli import run
from satm.cli.plan import parse_size
from satm.errors import ConfigError, Diverged, PluginError
from satm.methods import METHODS
from satm.methods.outer import EMA
from satm.methods.trajectory.calibrate import StepCost, calibrate
from satm.methods.trajectory.condensation import TrajectoryCondensation
from satm.workflow.condense.plan import plan
from satm.workflow.condense.timed import timed_steps
from tests.helpers import SATM, experts, image_data, task

COST = StepCost(
    fixed=1.0, step=0.1, taped=0.5, diagnosis=0.2, memory_fixed=100.0, memory_taped=10.0, memory_diagnosis=400.0
)


def test_time_is_a_line_in_the_steps_and_in_the_window():
    assert COST.seconds(30, 10) == pytest.approx(1 + 3 + 5)
    assert COST.seconds(30, 10, diagnostics_every=50) == pytest.approx(9 + 30 * 0.2 / 50)


def test_memory_is_a_line_in_the_window_or_what_diagnosing_takes():
    assert COST.memory(10) == 200
    assert COST.memory(10, diagnosed=True) == 400


@pytest.mark.parametrize(("available", "window"), [(90, 0), (100, 0), (110, 1), (155, 5), (10_000, 30)])
def test_the_largest_window_is_the_last_that_fits(available, window):
    assert COST.largest_window(30, available) == window
    assert window == 0 or (COST.memory(window) or 0) <= available


def test_no_window_fits_if_diagnosing_does_not():
    assert COST.largest_window(30, 399, diagnosed=True) == 0
    assert COST.largest_window(30, 401, diagnosed=True) == 30


def test_the_longest_window_of_an_outer_step_must_fit(tmp_path):
    preset = choose_preset("digits", ipc=1, method="at-bptt", profile="smoke")
    found = plan(preset, device="cpu", memory=1e15, registry=tmp_path / "none.db")
    assert (found.inner_steps, found.window) == (8, 3)
    assert found.largest_window == 7  # an outer step of the middle stage has a window of 8 then


def test_a_step_that_the_guard_would_refuse_is_timed_too():
    data = image_data()
    condensation = TrajectoryCondensation(task(data, experts(data)), replace(SATM, lr_images=1e6))
    guard = condensation.guard
    assert calibrate(condensation).step >= 0
    assert condensation.guard is guard


def test_a_rule_that_depends_on_the_number_of_steps_is_timed_too():
    data = image_data()
    condensation = TrajectoryCondensation(task(data, experts(data)), replace(SATM, outer=EMA()))
    rule = condensation.rule
    assert calibrate(condensation).step >= 0
    assert condensation.rule is rule


def test_an_outer_step_that_is_not_finite_is_one_line():
    data = image_data()
    condensation = TrajectoryCondensation(task(data, experts(data)), replace(SATM, step_size=1e30))
    with pytest.raises(Diverged, match="step_size"):
        calibrate(condensation)


@pytest.mark.parametrize("window", [2, 6])
def test_calibrating_changes_nothing_and_finds_a_cost(window):
    data = image_data()
    trajectories = experts(data)
    touched, plain = (TrajectoryCondensation(task(data, trajectories), replace(SATM, window=window)) for _ in range(2))
    cost = calibrate(touched)
    assert cost.seconds(6, window) > 0
    for one in (touched, plain):
        one.advance()
    assert all(value.equal(plain.state()[name]) for name, value in touched.state().items())


@pytest.mark.parametrize(("text", "size"), [("4GB", 4e9), ("500 MB", 5e8), ("1.5gb", 1.5e9)])
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "4", "GB", "-1GB", "nanGB", "4 XB", "infGB"])
def test_a_wrong_size_is_refused(text):
    with pytest.raises(ConfigError, match="expected a size"):
        parse_size(text)


def test_the_plan_shows_what_earlier_runs_measured(capsys):
    settings = ["--set", "outer_steps=4", "--set", "inner_steps=4", "--set", "diagnostics_every=0"]
    asked = ["digits", "--profile", "smoke", "--engine", "higher", *settings]
    assert run(["plan", *asked, "--memory", "64GB"]) == 0
    said = capsys.readouterr().out
    assert "4 outer steps (N 4, window 1)" in said
    assert "engine higher (as asked)" in said
    assert "expert epochs" in said
    assert "largest window that fits 64.00 GB: 4 of 4 steps" in said
    assert "measured" not in said
    assert run(["condense", *asked]) == 0
    capsys.readouterr()
    assert run(["plan", *asked]) == 0
    said = capsys.readouterr().out
    assert "measured, digits/ipc1/satm@1:" in said
    assert "expert epochs" not in said  # they are stored now


def test_a_method_that_begins_something_else_is_one_line(tmp_path, monkeypatch):
    """Another package may say that its method matches trajectories, and yet begin a condensation of its own."""
    monkeypatch.setenv("SATM_HOME", str(tmp_path))
    preset = choose_preset("digits", ipc=1, method="mtt", profile="smoke")
    other = METHODS.get("random")
    stray = replace(METHODS.get("mtt"), begin=lambda task, settings: other.begin(task, other.config()))
    monkeypatch.setitem(METHODS._items, "mtt", stray)
    with pytest.raises(
        PluginError, match=r"^method 'mtt' of satm begins a .*, and only a TrajectoryCondensation can be"
    ):
        plan(preset)


@pytest.mark.parametrize("method", ["frepo", "dance"])
def test_whole_steps_are_timed_without_an_inner_loop(method, capsys):
    asked = ["digits", "--method", method, "--profile", "smoke", "--set", "outer_steps=6", "--set", "compile=eager"]
    assert run(["plan", *asked, "--memory", "64GB"]) == 0
    said = capsys.readouterr().out
    assert "no inner loop is differentiated" in said
    assert "6 outer steps of " in said
    assert "64.00 GB of memory: it fits" in said
    assert ("expert epochs" in said) == (method == "dance")
    assert "window" not in said
    assert run(["plan", *asked, "--memory", "1MB"]) == 0
    assert "1 MB of memory: it does not fit: lower batch_real or the IPC" in capsys.readouterr().out


def test_the_memory_of_a_step_grows_with_its_real_batch():
    data = image_data(per_class=400)
    config = METHODS.get("frepo").config(outer_steps=9, pool=1, compile="eager")
    peaks = []
    for batch in (10, 1000):
        condensation = METHODS.get("frepo").begin(
            task(data, (), architecture="convnet3"), replace(config, batch_real=batch)
        )
        peaks.append(timed_steps(condensation, torch.device("cpu")).peak_bytes)
        assert condensation.step >= 4
    assert peaks[1] > peaks[0] + 1000 * 128 * 8 * 8  # the features of the first layer, for the batch or for its pieces


def test_only_methods_with_outer_steps_are_planned(capsys):
    assert run(["plan", "digits", "--method", "random"]) == 2
    error = capsys.readouterr().err
    assert "error: method random has no outer steps that take time" in error
    assert run(["plan", "digits", "--memory", "much"]) == 2
