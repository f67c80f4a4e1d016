"""Every method on images that are stored as grids: derivatives, whole condensations, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from satm.data import load
from satm.engine import Full, HigherPolicy, LastSteps, OuterVariables, ReplayPolicy, make_step
from satm.errors import ConfigError
from satm.functional import FlatNetwork
from satm.methods import METHODS
from satm.methods.outer import OuterProblem
from satm.methods.start import first_images
from satm.methods.trajectory.diagnosis import diagnose
from satm.methods.trajectory.labels import predict
from satm.parametrisation import PIXELS, Factor, LowRank, Pixels
from satm.workflow.choosing import choose_preset
from satm.workflow.condense.inputs import check_request
from tests.helpers import IMAGE, central_differences, experts, image_data, normal, task, tiny_case
from tests.satm.methods.direct.test_direct import DC, DM, DSA
from tests.satm.methods.direct.test_idc import IDC
from tests.satm.methods.trajectory.test_family import config

close = partial(torch.testing.assert_close, rtol=1e-6, atol=1e-8)
TWO = Factor(2)
RANK = LowRank(2)


@pytest.mark.parametrize("replayed", [False, True], ids=["higher", "replay"])
@pytest.mark.parametrize("soft", [False, True], ids=["classes", "probabilities"])
def test_the_hypergradient_is_that_of_the_stored_images_and_their_labels(replayed, soft):
    case = tiny_case(steps=3, soft=soft)
    policy = ReplayPolicy(make_step(case.loop.network)) if replayed else HigherPolicy()
    at = OuterVariables(normal(2, *IMAGE, name="φ"), case.at.labels[:2], case.at.step_size)

    def value(at: OuterVariables) -> float:
        return case.value(OuterVariables(TWO.decode(at.images), at.labels.repeat_interleave(4, 0), at.step_size))

    problem = OuterProblem(
        loop=case.loop,
        at=at,
        theta_start=case.theta,
        loss=case.loss,
        policy=policy,
        truncation=Full(),
        parametrisation=TWO,
        derivative="exact",
    )
    found = problem.hypergradient(at.images)
    close(found.images, central_differences(lambda images: value(at._replace(images=images)), at.images))
    if soft:
        close(found.labels, central_differences(lambda labels: value(at._replace(labels=labels)), at.labels))
    alpha = central_differences(lambda alpha: value(at._replace(step_size=alpha)), at.step_size)
    close(problem.step_size_derivative(at.images, found), alpha)
    last = replace(problem, truncation=LastSteps(1))
    close(last.step_size_derivative(at.images, last.hypergradient(at.images)), alpha)
    epsilon = normal(2, *IMAGE, name="ε")
    measured = diagnose(problem, epsilon)
    assert measured["sharpness"] == pytest.approx(value(at._replace(images=at.images + epsilon)) - value(at), rel=1e-9)


class Same(Pixels):
    """Pixels, decoded by a copy: as `factor` with f = 1 would be, through the code of every parametrisation."""

    def decode(self, images):
        return images + 0.0


DIRECT = {"dc": DC, "dsa": DSA, "dm": DM, "idc": IDC}
TRAJECTORY = ("mtt", "ftd", "tesla", "datm", "satm", "satm-da", "mdc")


def begun(method, data, trained, **changes):
    chosen = DIRECT[method] if method in DIRECT else config(method, outer_steps=2, inner_steps=3, batch_syn=None)
    if method == "tesla":
        chosen = replace(chosen, labels="teacher")
    return METHODS.get(method).begin(task(data, () if method in DIRECT else trained, **changes), chosen)


@pytest.fixture(scope="module")
def data():
    return image_data()


@pytest.fixture
def trained(data):
    return experts(data)


@pytest.mark.parametrize("method", [*DIRECT, *TRAJECTORY])
def test_every_method_runs_on_grids_and_with_one_image_each_it_is_as_before_to_the_bit(method, data, trained):
    plain, same = (begun(method, data, trained, parametrisation=how) for how in (PIXELS, Same()))
    grids, again = (begun(method, data, trained, parametrisation=TWO) for _ in range(2))
    start = grids.images
    for _ in range(2):
        for each in (plain, same, grids):
            each.advance()
        again.advance()
        saved = again.state()
        again = begun(method, data, trained, parametrisation=TWO)
        again.restore(saved)
    before, after = plain.state(), same.state()
    assert all(torch.equal(before[name], after[name]) for name in before)
    made = grids.result()
    assert made.images.shape == (6, 1, 8, 8)
    assert len(made.labels) == 6
    assert torch.isfinite(made.images).all()
    assert (grids.images - start).flatten(1).norm(dim=1).min() > 0  # every stored image is learned
    assert torch.equal(made.images, again.result().images)  # stopped after each step


@pytest.mark.parametrize("method", [*DIRECT, *TRAJECTORY])
def test_every_method_runs_on_factors_and_resumes_to_the_bit(method, data, trained):
    whole, first, again = (begun(method, data, trained, parametrisation=RANK) for _ in range(3))
    start = whole.images
    for each in (whole, whole, first):
        each.advance()
    again.restore(first.state())
    again.advance()
    made = whole.result()
    assert made.images.shape == (6, 1, 4, 8)
    assert torch.isfinite(made.images).all()
    moved = (whole.images - start).unflatten(2, (2, 2)).flatten(3).norm(dim=-1)
    assert moved.min() > 0  # both factors of every stored image are learned
    assert torch.equal(made.images, again.result().images)


@pytest.mark.parametrize("how", [TWO, RANK], ids=lambda how: how.spell())
def test_teslas_first_labels_are_a_teachers_on_the_images_that_networks_see(data, trained, how):
    stored, plain = (begun("tesla", data, trained, parametrisation=each) for each in (how, PIXELS))
    seen = how.decode(stored.images)
    last = trained[0].snapshot(stored.config.stored_epochs())
    probabilities = predict(FlatNetwork(plain.network), last, seen).softmax(dim=1)
    torch.testing.assert_close(stored.labels, how.by_stored(probabilities).mean(dim=1))


def test_factors_begin_as_the_nearest_real_images_or_as_noise_and_chosen_images_are_stored_so(data):
    stored = task(data, (), parametrisation=RANK)
    assert torch.equal(first_images(stored, "real"), RANK.encode(first_images(task(data, ()), "real")))
    noise = first_images(stored, "noise")
    assert noise.shape == (6, 1, 4, 8)
    chosen = METHODS.get("random").begin(stored, METHODS.get("random").config())
    assert chosen.result().images.shape == (6, 1, 4, 8)


def test_distribution_matching_moves_the_stored_images_along_its_derivative(data):
    condensation = begun("dm", data, (), parametrisation=TWO)
    condensation.augment = None
    theta = condensation.parameters(condensation.task.seed.child("a"))
    real = condensation.real.draw(condensation.task.seed.child("b").generator())
    means = [condensation.mean_embedding(theta, each[None])[0, 0] for each in real]

    def value(images: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(())
        for label, mean in enumerate(means):
            seen = TWO.decode(images[2 * label : 2 * label + 2])
            total = total + (condensation.mean_embedding(theta, seen[None])[0, 0] - mean).square().sum()
        return total

    condensation.parameters, condensation.real.draw = lambda seed: theta, lambda generator: real
    found, _ = condensation.gradient(condensation.task.seed)
    (expected,) = torch.autograd.grad(value(leaf := condensation.images.clone().requires_grad_()), leaf)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_grids_begin_as_smaller_real_images_and_chosen_ones_are_stored_so(data):
    begin = first_images(task(data, (), parametrisation=TWO), "real")
    whole = first_images(task(data, (), ipc=8), "real")
    assert torch.equal(begin, TWO.encode(whole))
    chosen = METHODS.get("random").begin(task(data, (), parametrisation=TWO), METHODS.get("random").config())
    assert chosen.result().images.shape == (6, 1, 8, 8)
    with pytest.raises(ConfigError, match=r"under factor:2 networks see 16 images a class.*choose 1 to 3"):
        task(data, (), ipc=4, parametrisation=TWO)


@pytest.mark.parametrize(
    ("method", "how", "message"),
    [
        ("rded-static", "factor:2", "method rded-static makes images that networks see as they are stored.*dm"),
        ("rded-static", "low-rank:2", "method rded-static makes images that networks see as they are stored.*dm"),
        ("mtt", "low-rank:9", "an image of 8 × 8 pixels has at most the rank 8; choose at most low-rank:8"),
        ("mtt", "factor:9", "the last pieces of 8 pixels would be padding only; choose factor:8"),
        ("dm", "factor:2.5", "expected pixels, factor:N"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(method, how, message):
    def request():
        chosen = choose_preset("digits", ipc=1, method=method, profile="smoke", settings={"parametrisation": how})
        check_request(chosen.config, load("digits"))

    with pytest.raises(ConfigError, match=message):
        request()


def test_the_setting_names_the_set_and_is_left_out_if_it_is_pixels():
    plain, one, two = (
        choose_preset("digits", ipc=1, method="dm", profile="smoke", settings={"parametrisation": how}).config
        for how in ("pixels", "factor:1", "factor:2")
    )
    assert plain.to_dict() == one.to_dict()
    assert "parametrisation" not in plain.to_dict()
    assert (two.set_method, two.seen_ipc, one.set_method) == ("dm+factor2", 4, "dm")
    assert type(two).from_dict(two.to_dict()) == two
