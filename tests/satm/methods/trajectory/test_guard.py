"""Failed outer steps are rolled back and tried again, or the run stops with its state kept. Others do not change."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import pytest
import torch
from safetensors.torch import load, save

from satm.errors import ConfigError, Diverged
from satm.methods.outer import OuterUpdate, Rule
from satm.methods.trajectory.condensation import TrajectoryCondensation
from satm.methods.trajectory.guard import GuardConfig
from tests.helpers import SATM, experts, image_data, task

OFF = GuardConfig(max_loss=None, max_update_ratio=None, max_step_size_growth=None, retries=0)


@pytest.fixture
def data():
    return image_data()


@pytest.fixture
def trajectories(data):
    return experts(data)


@dataclass
class Scripted(Rule):
    """A rule with prepared answers (loss, direction of φ, derivative of α), one for each call; the last one repeats."""

    answers: list[tuple[float, float, float]]
    seen: list[tuple[float, float]] = field(default_factory=list)  # mean of φ, sum of the segment's θ_t

    def __call__(self, problem, generator, redraw, state):
        loss, images, step_size = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.seen.append((float(problem.at.images.mean()), float(problem.theta_start.sum())))
        like = problem.at.images
        return OuterUpdate(
            images=torch.full_like(like, images),
            step_size=torch.tensor(step_size),
            perturbation=torch.zeros_like(like),
            measured={"loss": loss},
        )


FINE = (0.5, 0.1, 0.0)
STEADY = replace(SATM, lr_images=1.0, lr_step_size=0.1, momentum_images=0.0)


def scripted(data, trajectories, *answers, config=STEADY, **guard):
    config = replace(config, guard=replace(config.guard, **guard))
    return TrajectoryCondensation(task(data, trajectories), config, Scripted(list(answers)))


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def begin(data, trajectories, config):
    return TrajectoryCondensation(task(data, trajectories), config)


def test_a_healthy_run_is_the_same_bits_with_guards_on_and_off(data, trajectories):
    ends = []
    for guard in (GuardConfig(), OFF):
        condensation = begin(data, trajectories, replace(SATM, guard=guard, momentum_step_size=0.5))
        measured = [condensation.advance() for _ in range(4)]
        assert not [name for each in measured for name in each if name.startswith("event.")]
        ends.append((condensation.state(), measured))
    assert same(ends[0][0], ends[1][0])
    assert ends[0][1] == ends[1][1]


@pytest.mark.parametrize("lr_images", [3.0, 14.0])
def test_a_move_that_is_too_long_is_halved_until_it_is_not(data, trajectories, lr_images):
    config = replace(STEADY, lr_images=lr_images)
    condensation = scripted(data, trajectories, (0.5, 1.0, 0.2), config=config, max_update_ratio=1.0)
    start = condensation.images
    length = lr_images * start.numel() ** 0.5 / float(start.norm())
    halvings = max(0, math.ceil(math.log2(length)))
    assert halvings > 0
    measured = condensation.advance()
    torch.testing.assert_close(condensation.images, start - lr_images * 0.5**halvings)
    assert float(condensation.step_size) == pytest.approx(0.05 - 0.1 * 0.2 * 0.5**halvings)
    assert measured["event.failed_tries"] == 1
    assert measured["event.moves_scaled_by"] == 0.5**halvings
    assert measured["event.rolled_back_at_update_ratio"] == pytest.approx(length, rel=1e-5)
    assert measured["update_ratio"] == pytest.approx(length / 2**halvings, rel=1e-5)


def test_every_try_draws_anew_and_a_bad_draw_costs_one_try(data, trajectories):
    condensation = scripted(data, trajectories, (math.nan, 0.1, 0.0), (0.5, math.inf, 0.0), FINE, retries=2)
    start = condensation.images
    measured = condensation.advance()
    assert measured["event.failed_tries"] == 2
    assert measured["event.rolled_back_at_not_finite"] == 1  # how many values were not finite in the last failed try
    torch.testing.assert_close(condensation.images, start - 0.1 / 4)
    assert "event.failed_tries" not in condensation.advance()
    tries = [
        scripted(data, trajectories, (math.nan, 0.1, 0.0), FINE, retries=1, config=replace(STEADY, max_start_epoch=2))
        for _ in range(6)
    ]
    for step, each in enumerate(tries):
        each.step = step
        each.advance()
    assert any(each.rule.seen[0][1] != each.rule.seen[1][1] for each in tries)  # another segment


def test_a_loss_that_explodes_takes_back_half_of_what_is_left_of_the_last_step(data, trajectories):
    explodes = (5e4, 0.1, 0.0)
    condensation = scripted(data, trajectories, FINE, (0.5, 0.4, 0.2), explodes, explodes, FINE)
    start = condensation.images.mean().item() - 0.1
    condensation.advance()
    condensation.advance()
    measured = condensation.advance()
    seen = [mean - start for mean, _ in condensation.rule.seen[2:]]
    assert seen == pytest.approx([-0.4, -0.2, -0.1], abs=1e-5)
    assert measured["event.rolled_back_at_loss"] == 5e4
    assert condensation.images.mean().item() - start == pytest.approx(-0.1 - 0.1 / 4, abs=1e-5)
    assert float(condensation.step_size) == pytest.approx(0.05 - 0.02 / 4)


def test_a_step_size_that_explodes_is_a_failure(data, trajectories):
    condensation = scripted(data, trajectories, (0.5, 0.0, -8.0))
    measured = condensation.advance()
    assert measured["event.rolled_back_at_step_size_growth"] == pytest.approx(17)  # 0.05 → 0.85
    assert float(condensation.step_size) == pytest.approx(0.05 + 0.4)


def test_a_step_size_may_come_back_from_its_projection(data, trajectories):
    condensation = scripted(data, trajectories, (0.5, 0.0, 8.0), (0.5, 0.0, -0.4))
    assert condensation.advance()["step_size"] == pytest.approx(1e-5)
    measured = condensation.advance()
    assert measured["step_size"] == pytest.approx(0.04, rel=1e-3)
    assert not [name for name in measured if name.startswith("event.")]


@pytest.mark.parametrize(
    ("answer", "retries", "said"),
    [
        ((math.nan, 0.1, 0.0), 2, "outer step 2: loss not finite in 3 tries, each from a new draw and with a smaller "
         "step; the inner loop diverges at step size 0.05: lower lr_images (1) or lr_step_size (0.1), or inner_steps "
         "(6)"),
        ((5e4, 0.1, 0.0), 0, "outer step 2: loss 5e+04 is above guard.max_loss 10000; the inner loop diverges at"),
        ((0.5, math.nan, 0.0), 1, "outer step 2: the derivative of the images not finite in 2 tries"),
        ((0.5, 0.1, math.inf), 1, "outer step 2: the derivative of the step size not finite in 2 tries"),
        ((0.5, 3e38, 0.0), 1, "outer step 2: update_ratio "),
        ((0.5, 0.0, -1e9), 1, "outer step 2: step_size_growth 1.91e+03 is above guard.max_step_size_growth 10 in 2 "
         "tries, each from a new draw and with a smaller step; lower lr_step_size (0.1), or learn its logarithm"),
    ],
)  # fmt: skip
def test_giving_up_keeps_the_state_and_names_values_and_a_way_out(data, trajectories, answer, retries, said):
    condensation = scripted(data, trajectories, FINE, answer, retries=retries)
    condensation.advance()
    before = condensation.state()
    with pytest.raises(Diverged) as caught:
        condensation.advance()
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)
    assert caught.value.measured["event.failed_tries"] == retries + 1
    assert len(condensation.rule.seen) == retries + 2
    assert same(condensation.state(), before)


def test_a_step_size_whose_exponential_overflows_is_not_finite(data, trajectories):
    condensation = scripted(data, trajectories, (0.5, 0.0, -1e9), config=replace(STEADY, log_step_size=True))
    with pytest.raises(Diverged, match=r"the step size's update not finite in 6 tries.*; lower lr_images \(1\) or lr_"):
        condensation.advance()


def test_an_absurd_learning_rate_stops_and_a_saner_one_goes_on_from_there(data, trajectories):
    """With real hypergradients. The learning rate that the message advises works."""
    absurd = begin(data, trajectories, replace(SATM, lr_images=1e9))
    sane = begin(data, trajectories, SATM)
    for _ in range(2):
        sane.advance()
    saved = save(sane.state())
    absurd.restore(load(saved))
    with pytest.raises(Diverged, match=r"lower lr_images \(1e\+09\) below about [0-9]") as caught:
        absurd.advance()
    assert same(absurd.state(), load(saved))
    advised = float(str(caught.value).split("below about ")[1])
    for lr_images in (advised / 2, SATM.lr_images):
        resumed = begin(data, trajectories, replace(SATM, lr_images=lr_images))
        resumed.restore(load(save(absurd.state())))
        assert resumed.step == 2
        assert math.isfinite(resumed.advance()["loss"])
        assert resumed.step == 3


def test_an_inner_loop_that_diverges_at_once_says_step_size(data, trajectories):
    condensation = begin(data, trajectories, replace(SATM, step_size=1e30))
    with pytest.raises(
        Diverged, match=r"diverges at step size 1e\+30: lower step_size \(1e\+30\) or inner_steps \(6\)"
    ):
        condensation.advance()


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_run_with_failures_continues_to_the_same_bits(data, trajectories, stop):
    """A saved state also holds the state before the last step. Steps 2 and 4 fail once, step 4 at its loss."""
    script = [FINE, (0.5, 9.0, 0.0), (0.5, 0.4, 0.2), FINE, (5e4, 0.1, 0.0), FINE]
    calls = {1: 1, 2: 3, 3: 4}[stop]

    whole = scripted(data, trajectories, *script, max_update_ratio=1.0)
    expected = [whole.advance() for _ in range(4)]
    assert [each.get("event.failed_tries") for each in expected] == [None, 1, None, 1]
    first = scripted(data, trajectories, *script, max_update_ratio=1.0)
    measured = [first.advance() for _ in range(stop)]
    second = scripted(data, trajectories, *script[calls:], max_update_ratio=1.0)
    second.restore(load(save(first.state())))
    measured += [second.advance() for _ in range(4 - stop)]
    assert measured == expected
    assert same(second.state(), whole.state())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"max_loss": 0.0}, "guard.max_loss 0.0: expected a finite number above 0, or null for no limit"),
        ({"max_update_ratio": math.nan}, "guard.max_update_ratio nan: expected"),
        ({"max_step_size_growth": 1.0}, "guard.max_step_size_growth 1.0: expected a finite number above 1"),
        ({"retries": -1}, "guard.retries -1: expected 0 to 30"),
    ],
)
def test_limits_that_cannot_work_are_refused(change, said):
    with pytest.raises(ConfigError) as caught:
        GuardConfig(**change)
    assert str(caught.value).startswith(said)
