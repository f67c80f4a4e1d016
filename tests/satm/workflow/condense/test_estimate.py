"""The opening line of a condensation, and its warning of a window that reaches few of the images."""

from __future__ import annotations

import re

import pytest
import torch

from satm import choose_preset, condense, preview
from satm.errors import ConfigError
from satm.methods import METHODS
from satm.networks import plan_for
from satm.presets import perturbation
from satm.presets.rows import all_rows
from satm.progress import NoProgress
from satm.rng import Seed
from satm.workflow.condense import meter
from satm.workflow.condense.estimate import spell_reach
from tests.helpers import SATM, image_data, settings


def work(*, ipc, window, batch):
    """An outer step of SATM on a set of three classes."""
    data = image_data()
    config = settings(SATM, window=window, batch_syn=batch)
    network = plan_for("convnet3_w4", data).create(Seed(0))
    found = METHODS.get("satm").outer_work(config, network, data, ipc)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("ipc", "window", "batch", "reach"), [(10, 3, 4, 0.4), (4, 3, 4, 1.0), (10, 6, 4, 0.8), (10, 1, None, 1.0)]
)
def test_the_window_reaches_its_mini_batches(ipc, window, batch, reach):
    """`window` mini-batches of `batch` images, of 3·IPC images."""
    assert work(ipc=ipc, window=window, batch=batch).reach == pytest.approx(reach)


def test_a_window_that_reaches_few_images_is_warned_of_with_the_share_and_the_settings():
    line = spell_reach(work(ipc=10, window=3, batch=4))
    assert line == "the window reaches at most 40% of the images in one outer step: raise window or batch_syn"
    assert spell_reach(work(ipc=4, window=3, batch=4)) == ""
    assert spell_reach(None) == ""


def test_the_opening_line_has_the_warning():
    changes = {"batch_syn": 10, "window": 2, "experts.count": 1}
    assert "; the window reaches at most 20% of the images" in preview(
        choose_preset("digits", ipc=10, profile="smoke", settings=changes), device="cpu"
    )
    assert "reaches" not in preview(choose_preset("digits", ipc=1, profile="smoke"), device="cpu")


def test_the_opening_line_says_that_nothing_is_held_out():
    chosen = choose_preset("digits", ipc=1, profile="smoke", settings={"validation": 0})
    assert "all training images, validation=0" in preview(chosen, device="cpu")


@pytest.mark.parametrize(("method", "rule"), [("mtt", "sgd"), ("ftd", "ema"), ("mdc", "sgd")])
@pytest.mark.parametrize("name", ["outer.radius", "outer.rho", "settings.outer.ramp"])
def test_a_rule_without_a_perturbation_takes_no_length(method, rule, name):
    message = (
        rf"{name}: the outer optimiser {rule} has no perturbation; take one that has \(--outer asam, esam, gsam, sam, "
    )
    with pytest.raises(ConfigError, match=message):
        choose_preset("digits", ipc=1, method=method, profile="smoke", settings={name: 0.1})


def test_a_listing_of_presets_has_both_lengths():
    """r‖φ‖ with ‖φ‖ = 0.25·√(10·3·32²) = 43.8 for ten whitened images, 0.02·√(100·3·128²) by mean/std."""
    assert perturbation("satm", all_rows("satm")["cifar10/ipc1"]) == "r 0.02, ρ ≈ 0.876"
    assert perturbation("satm", all_rows("satm")["imagenette/ipc10"]) == "r 0.02, ρ ≈ 44.3"
    assert perturbation("mtt", all_rows("mtt")["cifar10/ipc1"]) == ""


class Listening(NoProgress):
    def __init__(self):
        self.said = []

    def say(self, message):
        self.said.append(message)


def test_no_time_is_said_before_steps_are_measured(tmp_path):
    """Too short for an estimate: nothing is said, at the start or later."""
    heard = Listening()
    chosen = choose_preset("digits", ipc=1, method="random", profile="smoke")
    condense(chosen, registry=tmp_path / "satm.db", device="cpu", progress=heard)
    chosen = choose_preset("digits", ipc=1, profile="smoke", settings={"outer_steps": 4})
    condense(chosen, registry=tmp_path / "satm.db", device="cpu", progress=heard)
    assert any(said == "profile smoke (cpu): satm/digits/ipc1, 2 expert epochs, 4 outer steps" for said in heard.said)
    assert not [said for said in heard.said if "about" in said]


def test_a_step_is_measured_without_the_first_one(monkeypatch):
    """Each step takes a second of this clock. The first one, which may compile, ends at 1000 and does not count."""
    ticks = iter([1000.0, 1000.0, 1001.0, 1002.0, 1003.0])
    monkeypatch.setattr(meter.time, "monotonic", lambda: next(ticks))
    clock = meter.Meter(torch.device("cpu"))
    for _ in range(meter.SURE_STEPS):
        clock.step()
        assert clock.step_seconds is None
    clock.step()
    assert clock.step_seconds == 1.0


def test_a_condensation_says_how_long_the_rest_takes(monkeypatch, tmp_path):
    monkeypatch.setattr(meter, "SURE_SECONDS", 0.0)
    heard = Listening()
    chosen = choose_preset("digits", ipc=1, profile="smoke", settings={"outer_steps": 8})
    condense(chosen, registry=tmp_path / "satm.db", device="cpu", progress=heard)
    (line,) = [said for said in heard.said if "outer steps left" in said]
    left, each = re.match(r"(\d+) outer steps left of (\S+) s each: about ", line).groups()
    assert int(left) == 8 - 1 - meter.SURE_STEPS
    assert float(each) > 0
