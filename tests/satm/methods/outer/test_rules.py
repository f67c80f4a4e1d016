"""Every outer rule gives what its paper's equations give on a loop that is unrolled by hand, in float64."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from satm.engine import HigherPolicy, LastSteps
from satm.errors import ConfigError
from satm.methods.outer import ASAM, EMA, ESAM, GSAM, OUTER, SAM, SATM, SGD, OuterProblem, Smooth, VaSSO
from satm.rng import Seed
from tests.helpers import SATM as SETTINGS
from tests.helpers import Tiny, leaves, normal, tiny_case

close = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-12)
N, WINDOW = 6, 3
IOTA = N - WINDOW
RHO = 0.3
LAST = LastSteps(WINDOW)


class Literal:
    """∇F of one case by hand: over the window (Eq. 8), and over steps τ … N − 1 from θ_τ (Eq. 9)."""

    def __init__(self, case):
        self.case = case
        self.phi = case.at.images

    def first(self):
        """∇F(φ) and F(φ). Keeps the trajectory for `second`."""
        at = leaves(self.case.at)
        self.thetas, _ = self.case.unroll(at, tape_from=IOTA)
        loss = self.case.loss(self.thetas[-1])
        return torch.autograd.grad(loss, at.images)[0], loss.item()

    def second(self, epsilon, tau=IOTA):
        """∇F(φ + ε) and F(φ + ε), from θ_τ."""
        at = leaves(self.case.at._replace(images=self.phi + epsilon))
        thetas, _ = self.case.unroll(at, theta=self.thetas[tau], first=tau)
        loss = self.case.loss(thetas[-1])
        return torch.autograd.grad(loss, at.images)[0], loss.item()


def ask(rule, case, state=None, *, progress=1.0, truncation=LAST):
    problem = OuterProblem(
        progress=progress,
        loop=case.loop,
        at=case.at,
        theta_start=case.theta,
        loss=case.loss,
        policy=HigherPolicy(),
        truncation=truncation,
    )
    return rule(problem, Seed(0).generator(), pytest.fail, rule.init(case.at.images) if state is None else state)


def test_sgd_descends_the_hypergradient():
    case = tiny_case()
    update = ask(SGD(), case)
    close(update.images, Literal(case).first()[0])
    assert update.perturbation is None


@pytest.mark.parametrize("tau", [None, 5])
def test_sam(tau):
    case = tiny_case()
    literal = Literal(case)
    g, _ = literal.first()
    epsilon = RHO * g / (g * g).sum().sqrt()
    update = ask(SAM(rho=RHO, tau=tau), case)
    close(update.perturbation, epsilon)
    close(update.images, literal.second(epsilon, IOTA if tau is None else tau)[0])


@pytest.mark.parametrize("tau", [None, 4])
def test_asam(tau):
    """ε = ρ T² ∇F/‖T ∇F‖ with T = diag(|φ| + η): it maximises ε·∇F over the ball ‖T⁻¹ε‖ ≤ ρ."""
    case = tiny_case()
    literal = Literal(case)
    g, _ = literal.first()
    scale = literal.phi.abs() + 0.01
    epsilon = RHO * scale**2 * g / ((scale * g) ** 2).sum().sqrt()
    update = ask(ASAM(rho=RHO, tau=tau), case)
    close(update.perturbation, epsilon)
    close((epsilon / scale).norm(), torch.tensor(RHO, dtype=torch.float64))
    close(update.images, literal.second(epsilon, IOTA if tau is None else tau)[0])
    # Random ε on the edge of that ball are worse, to first order.
    for k in range(20):
        other = normal(*g.shape, name=f"other {k}")
        other = RHO * other / (other / scale).norm()
        assert (other * g).sum() < (epsilon * g).sum()


def test_gsam():
    """φ descends ∇f_p − a ∇f_⊥ at SAM's ε. ∇f = ∇f_∥ + ∇f_⊥, parallel and orthogonal to ∇f_p."""
    case = tiny_case()
    literal = Literal(case)
    g, loss = literal.first()
    epsilon = RHO * g / g.norm()
    g_p, loss_p = literal.second(epsilon)
    cosine = (g * g_p).sum() / (g.norm() * g_p.norm())
    vertical = g - cosine * g.norm() * g_p / g_p.norm()
    assert abs(float((vertical * g_p).sum())) < 1e-9 * float(g.norm() * g_p.norm())
    update = ask(GSAM(rho=RHO, gap_weight=0.7), case)
    close(update.images, g_p - 0.7 * vertical)
    assert update.measured["surrogate_gap"] == pytest.approx(loss_p - loss, rel=1e-9)
    # To first order, the second term does not change F(φ + ε), and it lowers the gap F(φ + ε) − F(φ).
    step = update.images - g_p
    assert abs(float((step * g_p).sum())) < 1e-9 * float(step.norm() * g_p.norm())
    assert float((-step * (g_p - g)).sum()) < 0
    close(ask(GSAM(rho=RHO, gap_weight=0.0), case).images, ask(SAM(rho=RHO), case).images)


def test_vasso():
    """d_t = (1 − θ) d_{t−1} + θ ∇F_t with d_0 = ∇F_0, and ε_t = ρ d_t/‖d_t‖, over three outer steps."""
    rule, average, state = VaSSO(rho=RHO, weight=0.3), None, None
    for step in range(3):
        case = tiny_case()
        case = replace(case, theta=normal(43, name=f"theta {step}"))
        literal = Literal(case)
        g, _ = literal.first()
        average = g if average is None else 0.7 * average + 0.3 * g
        epsilon = RHO * average / average.norm()
        update = ask(rule, case, state)
        close(update.perturbation, epsilon)
        close(update.images, literal.second(epsilon)[0])
        state = update.state
        assert set(state) == set(rule.init(case.at.images)) == {"average"}


def test_vasso_with_weight_one_is_sam():
    case = tiny_case()
    assert torch.equal(ask(VaSSO(rho=RHO, weight=1.0), case).images, ask(SAM(rho=RHO), case).images)


ASCENDING = [SAM, ESAM, GSAM, ASAM, VaSSO, SATM]
ALL_ENTRIES = [SAM, partial(ESAM, beta=1.0), GSAM, ASAM, VaSSO, SATM]  # none leaves out entries of ε


@pytest.mark.parametrize("kind", ALL_ENTRIES)
def test_a_radius_is_the_length_of_the_perturbation_over_that_of_the_images(kind):
    """‖ε‖ = r‖φ‖ for every rule, however large the images are, and along the direction that ρ gives."""
    for factor in (1.0, 30.0):
        case = tiny_case()
        case = replace(case, at=case.at._replace(images=factor * case.at.images))
        relative, absolute = ask(kind(radius=0.07), case).perturbation, ask(kind(rho=0.07), case).perturbation
        close(relative.norm(), 0.07 * case.at.images.norm())
        close(relative / relative.norm(), absolute / absolute.norm())


@pytest.mark.parametrize("kind", ASCENDING)
@pytest.mark.parametrize("length", [{"radius": 0.2}, {"rho": 0.3}])
def test_a_ramp_lets_the_length_rise_over_its_share_of_the_outer_steps(kind, length):
    case = tiny_case()
    whole = ask(kind(**length), case).perturbation
    for progress, share in [(0.0, 0.0), (0.1, 0.25), (0.4, 1.0), (0.9, 1.0)]:
        risen = ask(kind(**length, ramp=0.4), case, progress=progress).perturbation
        close(risen, share * whole)


@pytest.mark.parametrize("kind", ASCENDING)
def test_the_relative_rise_is_stored(kind):
    measured = ask(kind(radius=0.3), tiny_case()).measured
    rise = (measured["loss_perturbed"] - measured["loss"]) / measured["loss"]
    assert measured["relative_rise"] == pytest.approx(rise, rel=1e-12)
    assert rise != 0


def test_the_defaults_are_the_documented_numbers():
    """θ: VaSSO's code; β: ESAM's; η: ASAM's; a: GSAM's, the default of FTD's script. r, γ: ours (docs/choices.md)."""
    assert VaSSO().weight == 0.9
    assert ESAM().beta == 0.5
    assert (Smooth().gamma, Smooth().noise, Smooth().draws) == (0.1, "relative", 1)
    assert ASAM().eta == 0.01
    assert GSAM().gap_weight == 0.4
    assert (SATM().gamma, SATM().noise) == (0.1, "relative")
    assert {(kind().radius, kind().rho, kind().ramp, kind().redraw) for kind in ASCENDING} == {(0.02, None, 0.0, False)}


def test_the_rho_of_asam_is_not_spelled_as_a_length_in_pixel_units():
    assert ASAM(rho=0.5).perturbation_length().spell(40.0) == "ρ 0.5, relative to each pixel"
    assert ASAM(radius=0.05).perturbation_length().spell(40.0) == "r 0.05, ρ 2"


def test_one_of_radius_and_rho_decides():
    assert (SAM().radius, SAM().rho) == (0.02, None)
    assert (SAM(rho=2.0).radius, SAM(rho=2.0).rho) == (None, 2.0)
    assert SAM(radius=0.0) != SAM()
    assert SAM().perturbation_length().spell(100.0) == "r 0.02, ρ 2"
    assert SAM(rho=2.0).perturbation_length().spell(40.0) == "r 0.05, ρ 2"
    assert SGD().perturbation_length() is None


def test_satm_without_noise_is_sam_to_the_bit():
    case = tiny_case()
    one, other = ask(SATM(rho=RHO, gamma=0.0), case), ask(SAM(rho=RHO), case)
    assert torch.equal(one.images, other.images)
    assert torch.equal(one.step_size, other.step_size)


def test_ema():
    rule = EMA(decay=0.9)
    state = rule.init(torch.ones(2))
    for value in (2.0, 3.0):
        state = rule.moved(state, torch.full((2,), value))
    close(rule.averaged(state), torch.full((2,), 0.9 * (0.9 + 0.1 * 2) + 0.1 * 3))
    assert all(OUTER.get(name).config().averaged({}) is None for name in OUTER if name != "ema")


def test_an_open_decay_follows_the_number_of_steps():
    decays = [EMA().over(steps).decay for steps in (10_000, 100, 5, 0)]
    assert decays == pytest.approx([0.9995, 0.95, 0.0, 0.0])
    assert EMA(decay=0.5).over(100) == EMA(decay=0.5)
    # FTD's Table 7: d of 5,000 outer steps.
    assert [EMA(spans=spans).over(5_000).decay for spans in (0.5, 2.5, 5.0)] == pytest.approx([0.9999, 0.9995, 0.999])
    assert EMA(spans=2.5).over(400).decay == pytest.approx(1 - 2.5 / 400)
    with pytest.raises(ConfigError, match="spans -1"):
        EMA(spans=-1.0)
    assert SAM(rho=RHO).over(100) == SAM(rho=RHO)
    with pytest.raises(ConfigError, match=r"decay null: .* over\(steps\)"):
        EMA().moved({"shadow": torch.ones(2)}, torch.ones(2))


def test_the_part_of_a_state_is_the_rows_of_what_is_shaped_like_the_images():
    images, rows = torch.arange(24.0).view(4, 1, 2, 3), torch.tensor([3, 1])
    state = {"average": 2 * images, "steps": torch.tensor(7), "losses": torch.arange(4.0)}
    part = SGD().part(state, rows, images)
    assert torch.equal(part["average"], 2 * images[[3, 1]])
    assert part["steps"] is state["steps"]
    assert part["losses"] is state["losses"]


def test_a_rule_for_any_loop_has_no_tau_of_its_own():
    assert SAM(rho=RHO, tau=5, redraw=True).for_any_loop() == SAM(rho=RHO, redraw=True)
    assert EMA(decay=0.5).for_any_loop() == EMA(decay=0.5)


@pytest.mark.parametrize("name", OUTER)
def test_labels_descend_with_the_images_and_the_step_size_takes_the_first_trajectory(name):
    case = tiny_case(soft=True)
    update = ask(OUTER.get(name).config(), case)
    assert update.labels is not None
    assert update.labels.shape == case.at.labels.shape
    if name not in ("satm", "smooth"):  # these add noise in the first pass
        close(update.step_size, ask(SGD(), case).step_size)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (partial(SAM, rho=-1.0), "outer.rho -1: expected a finite number of 0 or more"),
        (partial(SAM, rho=float("inf")), "outer.rho inf: expected a finite number of 0 or more"),
        (
            partial(GSAM, radius=-0.1),
            "outer.radius -0.1: expected 0 to 1, .*; set outer.rho for a length",
        ),
        (partial(VaSSO, radius=float("nan")), "outer.radius nan: expected 0 to 1"),
        (partial(ASAM, radius=40.0), "outer.radius 40: expected 0 to 1"),
        (partial(SATM, radius=0.1, rho=1.0), "outer.radius 0.1 and outer.rho 1: both say .*; give one of them"),
        (partial(SAM, ramp=1.5), "outer.ramp 1.5: expected 0 to 1, a share of the outer steps"),
        (partial(ASAM, eta=float("nan")), "eta nan: expected finite"),
        (partial(GSAM, gap_weight=-0.1), "gap_weight -0.1: expected finite"),
        (partial(VaSSO, weight=0.0), "weight 0.0: expected 0 < weight ≤ 1"),
        (partial(EMA, decay=1.0), "decay 1.0: expected 0 ≤ decay < 1"),
    ],
)
def test_numbers_outside_their_range_are_one_line(rule, message):
    with pytest.raises(ConfigError, match=message):
        rule()


def test_a_second_pass_must_start_within_the_window():
    for tau in (2, 6):
        with pytest.raises(
            ConfigError, match=rf"tau {tau}: with 6 inner steps and a window of 3, expected 3 ≤ tau ≤ 5"
        ):
            SAM(tau=tau).check(6, 3)
    assert [SAM(tau=tau).second_start(3) for tau in (None, 5)] == [3, 5]
    assert SGD().second_start(3) is None


def test_the_work_of_an_outer_step_counts_every_pass():
    """N inner steps in the first pass, N − τ in each later one; without τ a later pass is a whole inner loop."""

    class Three(SGD):
        passes = 3

    def work(outer):
        settings = replace(SETTINGS, outer=outer, inner_steps=N, window=WINDOW)
        found = settings.choose_engine(Tiny(), (1, 2, 3), 6)[1]
        return found.steps, found.taped

    assert work(SGD()) == work(EMA()) == (N, WINDOW)
    assert work(SAM()) == work(VaSSO()) == (N + WINDOW, 2 * WINDOW)
    assert work(SAM(tau=5)) == (N + 1, WINDOW + 1)
    assert work(Three()) == (3 * N, 3 * WINDOW)
