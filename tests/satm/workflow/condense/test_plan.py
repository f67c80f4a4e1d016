"""`satm plan`: the model of an outer step's cost, and the command before and after a run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from satm import choose_preset
from satm.cli import run
from satm.cli.plan import parse_size
from satm.errors import ConfigError, Diverged, PluginError
from satm.methods import METHODS
from satm.methods.outer import EMA
from satm.methods.trajectory.calibrate import StepCost, calibrate
from satm.methods.trajectory.condensation import TrajectoryCondensation
from satm.workflow.condense.plan import plan
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


def test_only_inner_loops_are_planned(capsys):
    assert run(["plan", "digits", "--method", "random"]) == 2
    error = capsys.readouterr().err
    assert "error: method random has no inner loop that is differentiated" in error
    assert "satm condense says after a few outer steps how long" in error
    assert run(["plan", "digits", "--memory", "much"]) == 2
