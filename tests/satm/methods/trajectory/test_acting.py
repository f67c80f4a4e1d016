"""A run says if its perturbation does nothing, once, and also after a stop."""

from __future__ import annotations

from dataclasses import replace

import pytest

from satm.methods import outer
from satm.methods.outer import SAM, SGD
from satm.methods.trajectory.acting import LEAST, STEPS, Acting
from satm.methods.trajectory.condensation import TrajectoryCondensation
from tests.helpers import SATM, experts, image_data, task


def seen(acting, rises, first=0):
    """The messages for one rise a step."""
    both = [{"relative_rise": rise, "relative_rise_linear": rise} for rise in rises]
    said = [acting.see(first + step, rise) for step, rise in enumerate(both)]
    return [(first + step, message) for step, message in enumerate(said) if message is not None]


def test_a_median_under_a_thousandth_is_said_once_with_the_setting_to_raise():
    ((step, message),) = seen(Acting(SAM(radius=1e-4), 1000), [LEAST / 2] * 300)
    assert step == STEPS - 1
    assert message == (
        "the perturbation does nothing: over 100 outer steps it raised the loss by 0.05% (median); "
        "raise outer.radius 0.0001"
    )
    ((_, message),) = seen(Acting(SAM(rho=0.01), 1000), [0.0] * 100)
    assert message.endswith("raise outer.rho 0.01")


@pytest.mark.parametrize("rises", [[LEAST] * 100, [0.0] * 49 + [1.0] * 51, [0.0] * 99])
def test_nothing_is_said_of_a_perturbation_that_acts(rises):
    assert not seen(Acting(SAM(), 1000), rises)


def test_a_short_run_is_watched_to_its_end_and_a_ramp_is_left_out():
    assert seen(Acting(SAM(), 30), [0.0] * 30)[0][0] == 29
    ramped = Acting(SAM(ramp=0.5), 300)
    assert not seen(ramped, [0.0] * 150)
    assert not seen(ramped, [0.1] * 150, first=150)
    assert seen(Acting(SAM(ramp=0.5), 300), [0.0] * 300)[0][0] == 249


@pytest.mark.parametrize("rule", [SGD(), SAM(radius=0.0), SAM(rho=0.0)])
def test_a_rule_without_a_perturbation_is_not_watched(rule):
    acting = Acting(rule, 100)
    assert not seen(acting, [0.0] * 100)
    assert acting.state() == {}


def test_what_was_watched_is_saved():
    first, second = Acting(SAM(), 200), Acting(SAM(), 200)
    assert not seen(first, [0.0] * 60)
    second.restore(first.state())
    assert seen(second, [0.0] * 40, first=60)
    other = Acting(SAM(), 50)
    other.restore(first.state())  # of a run of another length
    assert other.rises.shape[1] == 50


@pytest.mark.parametrize(("rise", "linear", "says"), [(-0.1, 0.0, True), (-0.1, 0.02, False), (0.02, 0.0, False)])
def test_both_rises_must_be_small(rise, linear, says):
    """Noise in the first pass makes the rise negative, and curvature adds to a small linear one."""
    acting = Acting(SAM(), 100)
    said = [acting.see(step, {"relative_rise": rise, "relative_rise_linear": linear}) for step in range(100)]
    assert any(said) == says


@pytest.mark.parametrize(("radius", "says"), [(1e-7, True), (0.05, False)])
def test_a_condensation_says_that_its_perturbation_does_nothing(radius, says):
    data, said = image_data(), []
    config = replace(SATM, outer=outer.SATM(radius=radius, gamma=0.0))
    condensation = TrajectoryCondensation(task(data, experts(data), notify=said.append), config)
    for _ in range(config.outer_steps):
        condensation.advance()
    assert any(message.startswith("the perturbation does nothing") for message in said) == says


def test_the_notes_of_a_run_have_both_lengths():
    data = image_data()
    condensation = TrajectoryCondensation(task(data, experts(data)), replace(SATM, outer=SAM(rho=0.5)))
    norm = float(condensation.images.norm())
    assert condensation.notes["perturbation"] == f"perturbation r {0.5 / norm:.3g}, ρ 0.5 of sam"
    plain = TrajectoryCondensation(task(data, experts(data)), replace(SATM, outer=SGD()))
    assert "perturbation" not in plain.notes
