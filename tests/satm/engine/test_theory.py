"""Uses the engine to check what the paper proves about its two approximations; see docs/theory.md.

The network is linear without bias: θ [D] are its weights, the images X [n, D] are its input. The inner loss is any
function of the residual Xθ − y. Everything is float64.

L is the inner loss, 𝓛 the outer loss. J and K bound the eigenvalues of the inner Hessian from below and from above. For
the squared loss they are its smallest and its largest eigenvalue. "Met" means: reached with equality.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from satm.engine import (
    Full,
    HypergradientPolicy,
    InnerLoop,
    LastSteps,
    OuterVariables,
    Truncation,
    exact_step_size_derivative,
)
from satm.rng import Seed
from tests.helpers import EXACT, normal

power = torch.linalg.matrix_power
POLICIES = pytest.mark.parametrize("policy", EXACT, ids=lambda policy: policy.name)


def square(prediction, label):
    """(prediction − label)²/2; its Hessian as the inner loss is XᵀX/n."""
    return (prediction - label).square() / 2


def log_cosh(prediction, label):
    """Convex, with a gradient of at most 1 and a second derivative in (0, 1]."""
    r = prediction - label
    return r.abs() + nn.functional.softplus(-2 * r.abs()) - math.log(2)


def both(prediction, label):
    """Strongly convex and not quadratic: a second derivative in (1, 2]."""
    return square(prediction, label) + log_cosh(prediction, label)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """An inner problem and F = ‖θ_N − target‖²/2."""

    x: torch.Tensor  # [n, D]
    y: torch.Tensor  # [n]
    alpha: float
    start: torch.Tensor  # [D]
    target: torch.Tensor  # [D]
    steps: int
    objective: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = square
    policy: HypergradientPolicy = EXACT[0]

    @property
    def loop(self) -> InnerLoop:
        network = nn.Sequential(nn.Flatten(), nn.Linear(self.x.shape[1], 1, bias=False)).double()
        fixed = {"batches": (None,) * self.steps, "transforms": (nn.Identity(),) * self.steps}
        mean = lambda outputs, labels: self.objective(outputs.squeeze(1), labels).mean()  # noqa: E731
        return InnerLoop(network=network, criterion=mean, **fixed)

    @property
    def at(self) -> OuterVariables:
        images = self.x.view(len(self.x), 1, 1, -1)
        return OuterVariables(images, self.y, torch.tensor(self.alpha, dtype=torch.float64))

    def outer_loss(self, theta):
        return (theta - self.target).square().sum() / 2

    def differentiate(self, truncation: Truncation, outer_loss=None):
        return self.policy(self.loop, self.at, self.start, outer_loss or self.outer_loss, truncation)

    def unroll(self, x, y, steps):
        """θ_steps in plain torch, differentiable in x and y."""
        theta = self.start
        for _ in range(steps):
            gradient = torch.func.grad(lambda theta: self.objective(x @ theta, y).mean())(theta)
            theta = theta - self.alpha * gradient
        return theta


def random_setting(seed: int, *, steps: int, step: float, objective=square, n: int = 5, d: int = 3) -> Setting:
    """α = `step`/K; K is the largest eigenvalue of XᵀX/n."""
    generator = Seed(seed).child("theory").generator()
    x, y, start, target = (torch.randn(s, generator=generator, dtype=torch.float64) for s in ((n, d), (n,), (d,), (d,)))
    largest = float(torch.linalg.eigvalsh(x.T @ x / n)[-1])
    return Setting(x=x, y=y, alpha=step / largest, start=start, target=target, steps=steps, objective=objective)


def scalar(objective, *, alpha: float, steps: int, start: float = 1.0, phi: float = 0.0, target: float = -1.0):
    """D = n = 1 and X = 1: `objective`(θ, φ) is the inner loss itself, and φ is the label."""
    one = torch.ones(1, dtype=torch.float64)
    return Setting(x=one[None], y=phi * one, alpha=alpha, start=start * one, target=target * one, steps=steps,
                   objective=objective)  # fmt: skip


# The slope of the truncation error (Eq. 8, Proposition 4.1)

CONTRACTIONS = torch.tensor([0.8, 0.5, 0.3, 0.1], dtype=torch.float64)  # eigenvalues of I − αH; the first is 1 − αJ
ROWS, LONG, ALPHA = 6, 60, 0.4


def quadratic(*, aligned: bool) -> tuple[Setting, torch.Tensor]:
    """Least squares with the contractions above, and P = I − αH. `aligned`: ∂𝓛/∂θ_N is J's eigenvector."""
    q = torch.linalg.qr(normal(ROWS, 4, name="rows"))[0]
    vectors = torch.linalg.qr(normal(4, 4, name="vectors"))[0]
    x = math.sqrt(ROWS) * q @ ((1 - CONTRACTIONS) / ALPHA).sqrt().diag() @ vectors.T
    p = vectors @ CONTRACTIONS.diag() @ vectors.T
    y, start, target = normal(ROWS, name="y"), normal(4, name="start"), normal(4, name="target")
    if aligned:
        minimum = torch.linalg.lstsq(x, y).solution
        target = minimum + power(p, LONG) @ (start - minimum) - vectors[:, 0]
    return Setting(x=x, y=y, alpha=ALPHA, start=start, target=target, steps=LONG), p


@POLICIES
@pytest.mark.parametrize("part", ["images", "labels"])
def test_the_error_falls_by_one_minus_alpha_j_with_every_step_of_the_window(part, policy):
    """For any outer gradient, and for windows long enough that only the slowest mode is left."""
    setting = replace(quadratic(aligned=False)[0], policy=policy)
    whole = getattr(setting.differentiate(Full()), part)
    windows = range(14, 31, 4)
    errors = [(whole - getattr(setting.differentiate(LastSteps(w)), part)).norm().log() for w in windows]
    w = torch.tensor([float(w) for w in windows], dtype=torch.float64)
    slope = torch.linalg.lstsq(torch.stack([w, torch.ones_like(w)], 1), torch.stack(errors)).solution[0]
    assert float(slope) == pytest.approx(math.log(0.8), rel=0.02)


@dataclass(frozen=True)
class Shifted:
    """`LastSteps` with an error of `by` steps."""

    window: int
    by: int

    def first_taped(self, steps):
        return LastSteps(self.window).first_taped(steps) + self.by


def right(setting, p, window):
    return setting.differentiate(LastSteps(window))


def one_step_more(setting, p, window):
    return setting.differentiate(Shifted(window, -1))


def one_step_fewer(setting, p, window):
    return setting.differentiate(Shifted(window, 1))


def product_from_i(setting, p, window):
    """∏_{i'=i} as printed in Eqs. 8 and 9: one Jacobian too many in every term, as if ∂𝓛/∂θ_N were P ∂𝓛/∂θ_N."""
    return setting.differentiate(
        LastSteps(window), lambda theta: (theta - setting.target) @ p @ (theta - setting.target) / 2
    )


def as_printed(setting, p, window):
    """Eq. 8 exactly as printed: N − ι + 1 terms, and the product from i."""
    return product_from_i(setting, p, window + 1)


def assert_error_is_the_power(way, part, policy):
    """log(‖error‖ / ‖∂F/∂φ‖) = w log(1 − αJ) within 2% for every tested window w.

    ‖∂F/∂φ‖ is the error of window 0, because everything is missing there. A sum that is shifted by one step fails this
    check. The slope between two windows would not change.
    """
    setting, p = quadratic(aligned=True)
    setting = replace(setting, policy=policy)
    whole = getattr(setting.differentiate(Full()), part)
    for window in (2, 3, 6, 10):
        error = (whole - getattr(way(setting, p, window), part)).norm() / whole.norm()
        assert float(error.log()) / window == pytest.approx(math.log(0.8), rel=0.02), f"window {window}"


@POLICIES
@pytest.mark.parametrize("part", ["images", "labels"])
def test_the_error_is_the_power_of_the_window(part, policy):
    assert_error_is_the_power(right, part, policy)


@POLICIES
@pytest.mark.parametrize("part", ["images", "labels"])
@pytest.mark.parametrize("wrong", [one_step_more, one_step_fewer, product_from_i, as_printed])
def test_a_sum_that_is_off_by_one_is_found(wrong, part, policy):
    with pytest.raises(AssertionError, match="window"):
        assert_error_is_the_power(wrong, part, policy)


# Proposition 4.1, corrected


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    steps=st.integers(2, 7),
    window=st.integers(1, 7),
    step=st.floats(0.05, 1.0),
    objective=st.sampled_from([square, both]),
    policy=st.sampled_from(EXACT),
)
def test_truncation_error_is_within_the_corrected_bound(seed, steps, window, step, objective, policy):
    """‖e‖ ≤ (1 − αJ)^{N−ι} ‖∂𝓛/∂θ_N‖ ‖dθ_ι/dφ‖ for α ≤ 1/K, and ‖dθ_ι/dφ‖ ≤ B(1 − (1 − αJ)^ι)/αJ."""
    window = min(window, steps)
    iota = steps - window
    setting = random_setting(seed, steps=steps, step=step if objective is square else step / 2, objective=objective)
    setting = replace(setting, policy=policy)
    j = float(torch.linalg.eigvalsh(setting.x.T @ setting.x / len(setting.x))[0])
    whole, cut = setting.differentiate(Full()), setting.differentiate(LastSteps(window))
    contraction, outer = 1 - setting.alpha * j, float((whole.theta - setting.target).norm())
    x, y = setting.x, setting.y
    for part, d_theta in (
        ("images", torch.func.jacrev(lambda x: setting.unroll(x, y, iota))(x)),
        ("labels", torch.func.jacrev(lambda y: setting.unroll(x, y, iota))(y)),
    ):
        error = float((getattr(whole, part) - getattr(cut, part)).norm())
        size = float(torch.linalg.matrix_norm(d_theta.reshape(len(setting.start), -1), ord=2))
        assert error <= contraction**window * outer * size * (1 + 1e-9) + 1e-12
        if part == "labels" and objective is square:  # here the direct derivative B = αXᵀ/n is the same in every step
            direct = setting.alpha * float(torch.linalg.matrix_norm(x, ord=2)) / len(x)
            assert size <= direct * (1 - contraction**iota) / (1 - contraction) * (1 + 1e-9)


@pytest.mark.parametrize("iota", [1, 2, 4])
@pytest.mark.parametrize("window", [1, 3])
def test_the_printed_bound_fails_and_the_corrected_one_is_met(iota, window):
    """L = θ²/2 − φθ, so J = K = 1, and every step's direct derivative is α.

    With r = 1 − α the error is r^w |∂𝓛/∂θ_N| α(1 − r^ι)/(1 − r). This is exactly the corrected bound, and for small r
    it is larger than the printed bound 2^ι r^{w+1} |∂𝓛/∂θ_N| α.
    """
    r, alpha = 0.05, 0.95
    setting = scalar(lambda theta, phi: theta.square() / 2 - phi * theta, alpha=alpha, steps=iota + window)
    whole, cut = setting.differentiate(Full()), setting.differentiate(LastSteps(window))
    error, outer = float((whole.labels - cut.labels).norm()), float((whole.theta - setting.target).norm())
    total = alpha * (1 - r**iota) / (1 - r)
    assert error == pytest.approx(r**window * outer * total, rel=1e-9)
    assert error > 2**iota * r ** (window + 1) * outer * alpha  # if ∂θ_i/∂φ means the direct derivative of one step
    assert error > r ** (window + 1) * outer * total  # if it means the whole derivative, without the 2^ι


def valley(theta, phi, *, j=0.6):
    """Second derivative −1 up to θ = 1 and j above it, continuous slope: 1-smooth, and not convex at first."""
    up, down = -theta.square() / 2, -0.5 - (theta - 1) + j * (theta - 1).square() / 2
    return torch.where(theta < 1, up, down) - phi * theta


def test_without_convexity_before_the_window_two_to_the_iota_minus_one_is_met():
    """At α = 1/K each of the first ι steps doubles dθ/dφ and then adds α, so ‖dθ_ι/dφ‖ = α(2^ι − 1)."""
    iota, window, r = 4, 3, 0.4  # r = 1 − αJ
    setting = scalar(valley, alpha=1.0, steps=iota + window, start=1.5 / 2**iota)
    whole, cut = setting.differentiate(Full()), setting.differentiate(LastSteps(window))
    error, outer = float((whole.labels - cut.labels).norm()), float((whole.theta - setting.target).norm())
    assert error == pytest.approx(r**window * outer * (2**iota - 1), rel=1e-9)
    assert error > 2**iota * r ** (window + 1) * outer  # the printed bound


def test_strong_convexity_is_needed_at_theta_iota_and_not_at_theta_n():
    """The first Jacobian of the window is at θ_ι. If L is convex only from θ_{ι+1} on, as printed, its factor is 2."""
    iota, window, r = 4, 3, 0.4  # r = 1 − αJ
    setting = scalar(valley, alpha=1.0, steps=iota + window, start=0.75 / 2**iota)
    whole, cut = setting.differentiate(Full()), setting.differentiate(LastSteps(window))
    error, outer = float((whole.labels - cut.labels).norm()), float((whole.theta - setting.target).norm())
    assert error == pytest.approx(2 * r ** (window - 1) * outer * (2**iota - 1), rel=1e-9)


# Theorem 4.2


def moved(setting: Setting, epsilon_x=0.0, epsilon_y=0.0) -> float:
    """‖θ_τ(φ + ε) − θ_τ(φ)‖ for τ = all steps."""
    perturbed = replace(setting, x=setting.x + epsilon_x, y=setting.y + epsilon_y)
    ends = [each.differentiate(LastSteps(1)).theta for each in (perturbed, setting)]
    return float((ends[0] - ends[1]).norm())


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), tau=st.integers(1, 8), step=st.floats(0.05, 1.0), rho=st.floats(1e-3, 3.0))
def test_reused_start_is_within_theorem_4_2_and_the_sharper_bounds(seed, tau, step, rho):
    """L = mean log cosh(Xθ − y) is convex, with ‖∇_θL‖ ≤ σ and ‖∇_X∇_θL‖ ≤ β in the region of both trajectories."""
    setting = random_setting(seed, steps=tau, step=step, objective=log_cosh)
    alpha, n = setting.alpha, len(setting.x)
    direction = torch.randn(setting.x.shape, generator=Seed(seed).child("ε").generator(), dtype=torch.float64)
    distance = moved(setting, epsilon_x=rho * direction / direction.norm())

    clean = float(setting.x.norm(dim=1).mean())  # at φ: ‖∇_θL‖ = ‖mean tanh(r_n) x_n‖ ≤ mean ‖x_n‖
    longest = float(setting.x.norm(dim=1).max()) + rho  # anywhere between φ and φ + ε
    reach = float(setting.start.norm()) + alpha * tau * longest  # upper bound of ‖θ‖ on both trajectories
    beta = (1 + longest * reach) / math.sqrt(n)  # one image: ‖tanh(r) I + sech²(r) θxᵀ‖ ≤ 1 + ‖x‖‖θ‖
    assert distance <= alpha * tau * (2 * clean + beta * rho)  # as printed
    # Both first gradients are taken at θ_0, so one term is missing.
    assert distance <= alpha * (tau * beta * rho + 2 * (tau - 1) * clean) * (1 + 1e-9)
    assert distance <= 2 * alpha * tau * longest  # with a σ that holds at φ + ε too, β is not needed
    assert distance <= alpha * tau * beta * rho * (1 + 1e-9)  # convex: goes to 0 with ρ


@pytest.mark.parametrize("tau", [1, 2, 5])
def test_the_sharper_form_of_theorem_4_2_is_met(tau):
    """∇_θL = −σ clamp(k(θ − 1)) − φ, at φ = −ρ/2 and φ = ρ/2. At φ = 0, θ_0 is a maximum of L.

    The two trajectories move away from θ_0 in opposite directions, with the largest slope that σ allows.
    """
    sigma, rho, alpha, steep = 2.0, 0.5, 0.1, 1e3

    def ridge(theta, phi):
        u = steep * (theta - 1)
        return -sigma / steep * torch.where(u.abs() < 1, u.square() / 2, u.abs() - 0.5) - phi * theta

    setting = scalar(ridge, alpha=alpha, steps=tau, start=1.0, phi=-rho / 2)
    met = alpha * (tau * rho + 2 * (tau - 1) * sigma)
    assert moved(setting, epsilon_y=rho) == pytest.approx(met, rel=1e-9)


@pytest.mark.parametrize("curvature", [-1.0, 0.0, 1.0])
def test_growth_recursion_is_met_and_smoothness_is_not_enough(curvature):
    """L = cθ²/2 − φθ, β = 1: ‖Δθ_τ‖ = ρ Σ_{k<τ} (1 − αc)^k; at c = −1 that is far above ατ(2σ + βρ) with σ = K = 1."""
    alpha, tau, rho = 0.5, 20, 1.0
    setting = scalar(lambda theta, phi: curvature * theta.square() / 2 - phi * theta, alpha=alpha, steps=tau)
    distance = moved(setting, epsilon_y=rho)
    assert distance == pytest.approx(alpha * rho * sum((1 - alpha * curvature) ** k for k in range(tau)), rel=1e-9)
    assert (distance > alpha * tau * (2 + rho)) == (curvature < 0)


# Eq. 10


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    steps=st.integers(1, 8),
    step=st.floats(0.01, 1.0),
    objective=st.sampled_from([square, log_cosh]),
)
def test_what_eq_10_drops_is_of_first_order_in_alpha_k_n(seed, steps, step, objective):
    """|Eq. 10 − dF/dα| ≤ αK N(N − 1)/2 · max‖g_i‖ ‖∂𝓛/∂θ_N‖ for a convex, K-smooth inner loss and α ≤ 1/K.

    g_i is the inner gradient of step i.
    """
    setting = random_setting(seed, steps=steps, step=step, objective=objective)
    found = setting.differentiate(LastSteps(1))
    exact = exact_step_size_derivative(setting.loop, setting.at, setting.start, setting.outer_loss)
    thetas = [setting.unroll(setting.x, setting.y, i) for i in range(steps + 1)]
    largest = max(float((b - a).norm()) for a, b in pairwise(thetas)) / setting.alpha
    outer = float((thetas[-1] - setting.target).norm())
    bound = step * steps * (steps - 1) / 2 * largest * outer  # αK = `step`
    assert abs(float(found.step_size - exact)) <= bound * (1 + 1e-9) + 1e-9


def test_eq_10_does_not_notice_convergence():
    """L = (θ − φ)²/2: θ_N → φ for every α, so dF/dα → 0; Eq. 10 → −∂𝓛/∂θ_N (θ_0 − φ)/α. At N = 1 both agree."""
    for steps in (1, 60):
        setting = scalar(square, alpha=0.5, steps=steps, start=2.0, phi=1.0)
        eq_10 = float(setting.differentiate(LastSteps(1)).step_size)
        exact = float(exact_step_size_derivative(setting.loop, setting.at, setting.start, setting.outer_loss))
        if steps == 1:
            assert eq_10 == pytest.approx(exact)
        else:
            assert abs(exact) < 1e-12
            assert eq_10 == pytest.approx(-2 * (2.0 - 1.0) / 0.5)


def test_eq_10_may_point_the_other_way_beyond_one_over_k():
    """αK in (1, 2): descent still converges, but if N is even, the exact derivative has the opposite sign to Eq. 10."""
    setting = scalar(square, alpha=1.5, steps=4, start=2.0, phi=1.0)
    eq_10 = float(setting.differentiate(LastSteps(1)).step_size)
    exact = float(exact_step_size_derivative(setting.loop, setting.at, setting.start, setting.outer_loss))
    assert eq_10 * exact < 0
