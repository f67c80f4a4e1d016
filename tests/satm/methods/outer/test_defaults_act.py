"""The defaults of every sharpness-aware rule change what φ descends. A default of zero would fail here."""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest
import torch

import satm
from registry import Registry
from satm.methods import METHODS
from satm.methods.outer import ASAM, ESAM, GSAM, SAM, SATM, SGD, Smooth, VaSSO
from tests.helpers import SATM as CONFIG
from tests.helpers import experts, image_data, task

LEAST = 0.05  # 1 − cosine of two directions: an angle of 18 degrees


def direction(data, trajectories, rule, step):
    """The direction that φ moves in at outer step `step`, with the draws of that step, from the same φ."""
    config = replace(CONFIG, outer=rule, batch_syn=None)
    condensation = METHODS.get("satm").begin(task(data, trajectories), config)
    condensation.step = step
    before = condensation.images
    condensation.advance()
    return (condensation.images - before).flatten().double()


def turn(data, trajectories, rule, other):
    """Median of 1 − cosine between the directions of two rules, over five draws."""
    found = []
    for step in range(5):
        one, two = (direction(data, trajectories, each, step) for each in (rule, other))
        found.append(1 - float(torch.nn.functional.cosine_similarity(one, two, dim=0)))
    return statistics.median(found)


@pytest.fixture(scope="module")
def trained():
    data = image_data()
    return data, experts(data)


@pytest.mark.parametrize("kind", [SAM, ESAM, GSAM, ASAM, VaSSO, SATM])
def test_the_default_radius_turns_the_direction(trained, kind):
    assert turn(*trained, kind(), kind(radius=0.0)) > LEAST


def test_the_default_noise_turns_the_direction(trained):
    assert turn(*trained, SATM(), SATM(gamma=0.0)) > LEAST
    assert turn(*trained, Smooth(), SGD()) > LEAST


def test_the_default_gap_weight_turns_the_direction(trained):
    assert turn(*trained, GSAM(), GSAM(gap_weight=0.0)) > LEAST


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["satm", "sam", "esam", "gsam", "asam", "vasso"])
def test_after_100_outer_steps_the_perturbation_raises_the_loss_by_one_to_ten_percent(rule, tmp_path):
    preset = satm.choose_preset("digits", ipc=1, outer=rule, profile="smoke", settings={"outer_steps": 150})
    made = satm.condense(preset, registry=tmp_path / "satm.db").record
    with Registry.open(tmp_path / "satm.db") as store:
        assert made.run_id is not None
        rises = [row.value for row in store.metrics(made.run_id) if row.name == "relative_rise" and row.step >= 100]
    assert len(rises) == 50
    assert 0.01 <= statistics.median(rises) <= 0.10
