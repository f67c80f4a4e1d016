"""Kernel ridge regression: its closed forms, an independent solver, its derivative, and the label margin."""

from __future__ import annotations

import pytest
import torch
from sklearn.kernel_ridge import KernelRidge

from satm.errors import Diverged
from satm.matching import label_margin, ridge_loss, ridge_prediction
from tests.helpers import central_differences, normal

S, Y, T = normal(5, 7, name="s"), normal(5, 3, name="y"), normal(4, 7, name="t")
WANTED, RIDGE = normal(4, 3, name="wanted"), 0.2


def literal(s, y, t, ridge):
    """K_ts (K_ss + λ I)^{-1} Y_s with the kernels entry by entry, and the inverse matrix itself."""
    n = len(s)
    k_ss = torch.stack([torch.stack([sum(a * b) for b in s]) for a in s])
    k_ts = torch.stack([torch.stack([sum(a * b) for b in s]) for a in t])
    share = ridge * sum(k_ss[i, i] for i in range(n)) / n
    return k_ts @ torch.linalg.inv(k_ss + torch.diag(share.repeat(n))) @ y


def test_the_prediction_is_the_literal_one_and_scikit_learns():
    found = ridge_prediction(S, Y, T, RIDGE)
    torch.testing.assert_close(found, literal(S, Y, T, RIDGE), rtol=1e-10, atol=1e-10)
    share = RIDGE * float((S @ S.T).trace()) / 5
    given = KernelRidge(alpha=share, kernel="precomputed").fit((S @ S.T).numpy(), Y.numpy())
    own = KernelRidge(alpha=share, kernel="linear").fit(S.numpy(), Y.numpy())
    for theirs in (given.predict((T @ S.T).numpy()), own.predict(T.numpy())):
        torch.testing.assert_close(found, torch.from_numpy(theirs), rtol=1e-10, atol=1e-10)


def test_the_loss_and_both_derivatives_are_the_literal_ones():
    at = [each.clone().requires_grad_() for each in (S, Y)]
    found = ridge_loss(*at, T, WANTED, RIDGE)
    rows = WANTED - literal(*at, T, RIDGE)
    expected = sum((row**2).sum() / 2 for row in rows) / len(rows)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    for ours, theirs in zip(*(torch.autograd.grad(each, at) for each in (found, expected)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    numeric = central_differences(lambda s: ridge_loss(s, Y, T, WANTED, RIDGE).item(), S)
    torch.testing.assert_close(
        torch.autograd.grad(ridge_loss(*at, T, WANTED, RIDGE), at)[0], numeric, rtol=1e-6, atol=1e-8
    )


def test_without_a_ridge_it_interpolates_and_with_a_large_one_it_predicts_nothing():
    torch.testing.assert_close(ridge_prediction(S, Y, S, 1e-12), Y, rtol=0, atol=1e-8)  # 5 images, 7 features
    assert ridge_prediction(S, Y, T, 1e12).abs().max() < 1e-9
    # More images than features: the regression of least squares, w = (Sᵀ S)^{-1} Sᵀ Y.
    many, targets = normal(9, 3, name="many"), normal(9, 2, name="targets")
    squares = torch.linalg.lstsq(many, targets).solution
    torch.testing.assert_close(
        ridge_prediction(many, targets, T[:, :3], 1e-9), T[:, :3] @ squares, rtol=1e-5, atol=1e-6
    )


def test_the_scale_of_the_features_and_the_order_of_the_images_do_not_matter():
    found, order = ridge_prediction(S, Y, T, RIDGE), torch.tensor([3, 1, 4, 0, 2])
    torch.testing.assert_close(ridge_prediction(100 * S, Y, 100 * T, RIDGE), found)
    torch.testing.assert_close(ridge_prediction(S[order], Y[order], T, RIDGE), found)
    torch.testing.assert_close(ridge_prediction(S, 2 * Y, T, RIDGE), 2 * found)


def test_single_precision_features_are_solved_in_double():
    s = normal(60, 8, name="low rank").float()  # rank 8: 52 eigenvalues of the kernel are 0, and only the ridge is left
    y, t = normal(60, 2, name="their targets").float(), normal(4, 8, name="four").float()
    found, exact = ridge_prediction(s, y, t, 1e-6), literal(s.double(), y.double(), t.double(), 1e-6)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("features", [torch.zeros(5, 7), torch.full((5, 7), float("nan"))])
def test_a_kernel_that_cannot_be_solved_is_refused(features):
    with pytest.raises(Diverged, match="the kernel of 5 synthetic images is not positive definite at ridge 1e-06"):
        ridge_prediction(features, Y, T, 1e-6)


def test_the_label_margin_counts_up_to_one_kth_and_has_no_derivative_above():
    y = torch.tensor([[0.3, 0.1, -0.2], [0.0, 0.9, 0.1]], dtype=torch.float64, requires_grad=True)
    margin = label_margin(y)
    assert float(margin.detach()) == pytest.approx((0.2 + 1 / 3) / 2)
    (slope,) = torch.autograd.grad(margin, y)
    assert slope.tolist() == [[0.5, -0.5, 0.0], [0.0, 0.0, 0.0]]
