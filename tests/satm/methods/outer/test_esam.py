"""ESAM perturbs a random part of the pixels as its paper's equation says, in float64."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from satm.errors import ConfigError
from satm.methods.outer import ESAM, SAM
from satm.rng import Seed
from tests.helpers import normal, tiny_case
from tests.satm.methods.outer.test_rules import IOTA, RHO, Literal, ask

close = partial(torch.testing.assert_close, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("tau", [None, 5])
@pytest.mark.parametrize("beta", [0.2, 0.5])
def test_the_perturbation_is_sams_with_each_entry_kept_at_probability_beta(beta, tau):
    """ε = (ρ/β) m ⊙ g/‖g‖. The mask is written out from the same uniform numbers."""
    case = tiny_case()
    literal = Literal(case)
    g, _ = literal.first()
    uniform = torch.rand(g.shape, generator=Seed(0).generator()).double()
    epsilon = torch.where(uniform < beta, RHO / beta * g / (g * g).sum().sqrt(), 0.0)
    assert 0 < int((epsilon != 0).sum()) < epsilon.numel()
    update = ask(ESAM(rho=RHO, beta=beta, tau=tau), case)
    close(update.perturbation, epsilon)
    close(update.images, literal.second(epsilon, IOTA if tau is None else tau)[0])
    assert update.measured["kept_pixels"] == pytest.approx(float((epsilon != 0).double().mean()), rel=1e-9)


def test_with_beta_one_it_is_sam_to_the_bit():
    case = tiny_case(soft=True)
    one, other = ask(ESAM(rho=RHO, beta=1.0), case), ask(SAM(rho=RHO), case)
    assert torch.equal(one.images, other.images)
    assert torch.equal(one.labels, other.labels)
    assert torch.equal(one.step_size, other.step_size)
    assert torch.equal(one.perturbation, other.perturbation)
    assert one.measured["kept_pixels"] == 1.0


@pytest.mark.parametrize("beta", [0.1, 0.5, 0.9])
def test_each_entry_is_kept_with_probability_beta_on_its_own(beta):
    """Over 40,000 entries the share kept is β within four standard errors; neighbours are kept independently."""
    mask = ESAM(beta=beta).mask(normal(40, 1, 25, 40, name="images"), Seed(3).generator())
    assert mask.dtype == torch.float64
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    error = (beta * (1 - beta) / mask.numel()) ** 0.5
    assert abs(float(mask.mean()) - beta) < 4 * error
    both = float((mask[..., 1:] * mask[..., :-1]).mean())
    assert abs(both - beta**2) < 0.01


def test_the_mean_perturbation_is_sams_and_its_mean_square_is_one_over_beta_times_larger():
    case, draws, beta = tiny_case(), 3_000, 0.4
    sam = ask(SAM(rho=RHO), case).perturbation
    generator = Seed(1).generator()
    masks = torch.stack([ESAM(beta=beta).mask(sam, generator) for _ in range(draws)])
    found = masks * sam / beta
    error = sam.abs() * ((1 / beta - 1) / draws) ** 0.5
    assert ((found.mean(0) - sam).abs() <= 5 * error).all()
    assert float(found.flatten(1).square().sum(1).mean()) == pytest.approx(RHO**2 / beta, rel=0.05)


def test_a_new_mask_is_drawn_from_the_given_generator():
    images = normal(2, 1, 4, 4, name="images")
    generator = Seed(0).generator()
    first, second = (ESAM().mask(images, generator) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(first, ESAM().mask(images.float(), Seed(0).generator()).double())


@pytest.mark.parametrize("beta", [0.0, -0.1, 1.1, float("nan")])
def test_a_probability_outside_its_range_is_one_line(beta):
    with pytest.raises(ConfigError, match=rf"^beta {beta}: expected 0 < beta ≤ 1$"):
        ESAM(beta=beta)
