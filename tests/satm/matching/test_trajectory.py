"""The trajectory loss."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from satm.errors import ExpertError, ShapeError
from satm.matching import TrajectoryLoss
from tests.helpers import normal

values = st.floats(-1, 1).map(lambda value: round(value, 3))
vectors = st.lists(st.tuples(values, values, values), min_size=1, max_size=6)


@given(vectors)
def test_it_is_the_distance_to_the_target_over_the_segments_length(rows):
    start, target, theta = torch.tensor(rows, dtype=torch.float64).T
    length = sum((s - t) ** 2 for s, t, _ in rows)
    if length == 0:
        with pytest.raises(ExpertError):
            TrajectoryLoss(start, target)
        return
    expected = sum((v - t) ** 2 for _, t, v in rows) / length
    assert float(TrajectoryLoss(start, target)(theta)) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_it_is_one_at_the_start_zero_at_the_end_and_differentiable():
    start, target = normal(7, name="start"), normal(7, name="target")
    loss = TrajectoryLoss(start, target)
    assert float(loss(start)) == 1
    assert float(loss(target)) == 0
    theta = normal(7, name="theta").requires_grad_()
    torch.autograd.gradcheck(loss, theta)


def test_a_damaged_segment_is_refused_with_one_line():
    theta = normal(7, name="theta")
    for broken in (theta, theta.clone(), torch.full_like(theta, torch.nan)):
        with pytest.raises(ExpertError, match=r"^an expert's segment starts where it ends.*train it again$"):
            TrajectoryLoss(broken, theta)
    with pytest.raises(ShapeError, match=r"segment from \(6,\) to \(7,\) parameters"):
        TrajectoryLoss(theta[:6], theta)


@given(vectors, st.floats(0, 0.999))
def test_from_a_share_of_the_parameters_on_it_is_the_loss_of_the_rest(rows, share):
    """PAD: both norms leave out the first parameters."""
    start, target, theta = torch.tensor(rows, dtype=torch.float64).T
    first = int(share * len(rows))
    length = sum((s - t) ** 2 for s, t, _ in rows[first:])
    if length == 0:
        with pytest.raises(ExpertError):
            TrajectoryLoss(start, target, first)
        return
    expected = sum((v - t) ** 2 for _, t, v in rows[first:]) / length
    assert float(TrajectoryLoss(start, target, first)(theta)) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_parameters_that_are_not_matched_have_no_gradient():
    start, target = normal(7, name="start"), normal(7, name="target")
    theta = normal(7, name="theta").requires_grad_()
    loss = TrajectoryLoss(start, target, 3)
    torch.autograd.gradcheck(loss, theta)
    (gradient,) = torch.autograd.grad(loss(theta), theta)
    expected = 2 * (theta - target) / (start - target)[3:].square().sum()
    assert torch.equal(gradient[:3], torch.zeros_like(gradient[:3]))
    torch.testing.assert_close(gradient[3:], expected[3:], rtol=1e-10, atol=1e-10)
    for first in (-1, 7):
        with pytest.raises(ShapeError, match=f"first matched parameter {first} of 7"):
            TrajectoryLoss(start, target, first)
