"""MDC: the subset loss, the choice of the subset, frozen images, rules with a state. With one size it is its base."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
import torch

from satm import networks
from satm.engine import FlatNetwork, HigherPolicy, LastSteps, OuterVariables
from satm.errors import ConfigError, UnknownName
from satm.methods import METHODS, OUTER, Request
from satm.methods.direct.condensation import ClassBatches
from satm.methods.mdc import MDC, MDCConfig, Probe, WithSubset, most_learnable
from satm.methods.outer import SAM, SGD, OuterProblem, Rule, VaSSO
from satm.methods.outer.sgd import descend
from satm.methods.random import random_images
from satm.methods.trajectory.guard import Retry
from satm.rng import Seed
from tests.helpers import ARCHITECTURE, EXPERTS, experts, image_data, task, tiny_case

NUMBERS = {
    "outer_steps": 6,
    "inner_steps": 4,
    "expert_epochs": 2,
    "max_start_epoch": 2,
    "batch_syn": 5,
    "lr_images": 2.0,
    "lr_step_size": 1e-4,
    "step_size": 0.05,
    "augment": "color_crop",
    "diagnostics_every": 0,
    "period": 2,
}
CONFIG = MDCConfig(**NUMBERS)


def over(base, **changes):
    return MDCConfig.over(base, **NUMBERS | changes)


@pytest.fixture
def data():
    return image_data()


@pytest.fixture
def trajectories(data):
    return experts(data)


def begin(data, trajectories, config=CONFIG, *, ipc=4, method="mdc", **changes):
    return METHODS.get(method).begin(task(data, trajectories, ipc=ipc, **changes), config)


@pytest.mark.parametrize("base", ["mtt", "satm", "datm"])
@pytest.mark.parametrize(("ipc", "sizes"), [(1, None), (3, ()), (3, (3,))])
def test_one_size_is_the_base_to_the_bit(data, trajectories, base, ipc, sizes):
    config = over(base, sizes=sizes)
    mine = begin(data, trajectories, config, ipc=ipc)
    theirs = begin(data, trajectories, config.base_config(), ipc=ipc, method=base)
    assert type(config.base_config()) is METHODS.get(base).config
    assert [mine.advance() for _ in range(3)] == [theirs.advance() for _ in range(3)]
    one, other = mine.state(), theirs.state()
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_more_sizes_change_the_images(data, trajectories):
    mine, theirs = begin(data, trajectories), begin(data, trajectories, CONFIG.base_config(), method="mtt")
    one, other = mine.advance(), theirs.advance()
    assert one["loss"] == other["loss"]  # the whole set has the same draws as without the subset
    moved = (mine.images - theirs.images).abs().flatten(1).amax(dim=1) > 0
    assert moved.tolist() == [True, False, False, False] * 3  # the first subset has one image per class


def test_the_direction_is_the_sum_of_both_hypergradients():
    """∂(F(φ) + F_j(φ[:j]))/∂φ and /∂α in float64, with both loops unrolled by hand; frozen rows have direction zero."""
    case, other = tiny_case(), tiny_case(steps=4)
    rows, frozen = torch.tensor([0, 2, 3]), torch.tensor([2])
    part = replace(other.loop, batches=(None,) * 4)
    problem = OuterProblem(
        loop=case.loop,
        at=case.at,
        theta_start=case.theta,
        loss=case.loss,
        policy=HigherPolicy(),
        truncation=LastSteps(6),
        derivative="exact",
    )
    asked = []

    def draw(generator, count):
        asked.append(count)
        return part

    short = replace(problem, truncation=LastSteps(4))
    rule = WithSubset(base=SGD(), rows=rows, frozen=frozen, draw=draw, seed=Seed(0))
    found = rule(short, Seed(0).generator(), lambda: case.loop, {})
    images = case.at.images.clone().requires_grad_()
    step_size = case.at.step_size.clone().requires_grad_()
    whole = case.loss(case.unroll(case.at._replace(images=images, step_size=step_size), tape_from=2)[0][-1])
    subset = replace(case, loop=part)
    at = OuterVariables(images[rows], case.at.labels[rows], step_size)
    smaller = subset.loss(subset.unroll(at)[0][-1])
    expected = torch.autograd.grad(whole + smaller, images)[0]
    expected[frozen] = 0
    torch.testing.assert_close(found.images, expected, rtol=1e-9, atol=1e-12)
    exact = case.loss(case.unroll(case.at._replace(step_size=step_size))[0][-1])
    exact_smaller = subset.loss(subset.unroll(at._replace(images=at.images.detach()))[0][-1])
    expected_step = torch.autograd.grad(exact + exact_smaller, step_size)[0]
    torch.testing.assert_close(found.step_size, expected_step, rtol=1e-9, atol=1e-12)
    assert asked == [3]
    assert found.measured["loss"] == pytest.approx(whole.item())
    assert found.measured["loss_subset"] == pytest.approx(smaller.item())


def test_the_most_learnable_subset_changed_most():
    before, now = torch.tensor([3.0, 2.0, 1.0]), torch.tensor([2.5, 2.9, 0.5])
    assert most_learnable(before, now) == 1  # in either direction
    assert most_learnable(before, before) == 0


def test_feature_distances_written_out(data, trajectories):
    the_task = task(data, trajectories, ipc=3)
    images = random_images(data, 3, Seed(1))
    real = ClassBatches(data, 5).draw(Seed(2).generator())
    found = Probe(the_task, 2, real).distances(images, 3)
    network = networks.plan_for(ARCHITECTURE, data).create(Seed(0))
    for size in (1, 2, 3):
        total = 0.0
        for epoch in (0, 1):
            FlatNetwork(network).load(trajectories[0].snapshot(epoch))
            for label in range(3):
                mine = network.features(images[3 * label : 3 * label + size]).flatten(1).mean(dim=0)
                theirs = network.features(real[label]).flatten(1).mean(dim=0)
                total += (mine - theirs).square().sum().item() / 6
        assert found[size - 1].item() == pytest.approx(total, rel=1e-4)


def test_subsets_are_chosen_every_period_and_smaller_choices_freeze(data, trajectories):
    condensation = begin(data, trajectories, replace(CONFIG, outer_steps=8))
    distances = iter([[5.0, 5, 5, 9], [5.0, 5, 9, 0], [5.0, 9, 9, 0], [1.0, 9, 9, 0]])
    condensation.probe.distances = lambda images, ipc: torch.tensor(next(distances))
    seen = []
    for _ in range(8):
        before = condensation.images
        measured = condensation.advance()
        seen.append((measured["subset"], measured["frozen"]))
        still = (condensation.images == before).flatten(1).all(dim=1).tolist()
        assert still == [j < measured["frozen"] for j in range(4)] * 3
    # First the smallest size. Then 3 changed most, and 1 is frozen. Then 2 changed most. Then 1, with no smaller one.
    assert seen == [(1, 0)] * 2 + [(3, 1)] * 2 + [(2, 1)] * 2 + [(1, 0)] * 2


def test_the_labels_of_frozen_images_are_at_rest(data, trajectories):
    condensation = begin(data, trajectories, over("datm", outer_steps=4))
    condensation.config = replace(condensation.config, threshold=None)  # no step is skipped
    distances = iter([[5.0, 5, 5, 9], [5.0, 5, 9, 0]])
    condensation.probe.distances = lambda images, ipc: torch.tensor(next(distances))
    moved = []
    for _ in range(4):
        before = condensation.labels
        frozen = condensation.advance()["frozen"]
        moved.append((condensation.labels != before).any(dim=1).tolist())
        assert frozen == (0 if len(moved) <= 2 else 1)
    assert moved == [[True] * 12] * 2 + [[False, True, True, True] * 3] * 2


@dataclass(frozen=True)
class Counting(Rule):
    """Plain descent that keeps its last direction for every image, and counts its answers for the whole set."""

    seen: list = field(default_factory=list)

    def __call__(self, problem, generator, redraw, state):
        self.seen.append(state)
        update = descend(problem, state)
        return replace(update, state={"last": update.images, "asked": state["asked"] + 1})

    def init(self, images):
        return {"last": torch.zeros_like(images), "asked": torch.tensor(0)}


def test_a_rule_with_a_state_sees_the_subsets_part_of_it(data, trajectories):
    """Of a tensor shaped like the images it sees the subset's rows, other tensors it sees whole.

    Only a step on the whole set changes the state.
    """
    rule = Counting()
    condensation = begin(data, trajectories)
    condensation.rule, condensation.outer_state = rule, rule.init(condensation.images)
    plain = begin(data, trajectories)
    for step in range(3):
        assert condensation.advance() == plain.advance()  # this rule has the direction of SGD
        whole, subset = rule.seen[2 * step :]
        rows = torch.arange(12) % 4 < condensation.size
        assert torch.equal(subset["last"], whole["last"][rows])
        assert whole["asked"] == subset["asked"] == step
        assert condensation.outer_state["asked"] == step + 1
        assert whole["last"].any() == subset["last"].any() == (step > 0)
    saved = condensation.state()
    again = begin(data, trajectories)
    again.rule, again.outer_state = Counting(), rule.init(again.images)
    again.restore(saved)
    assert again.advance() == condensation.advance()


def test_vasso_ascends_along_the_average_of_the_subsets_images(data, trajectories):
    config = replace(CONFIG, outer=VaSSO(rho=0.5, weight=0.3))
    condensation, plain = (begin(data, trajectories, each) for each in (config, replace(CONFIG, outer=SAM(rho=0.5))))
    first, other = condensation.advance(), plain.advance()
    assert first["loss_perturbed"] == pytest.approx(other["loss_perturbed"], rel=1e-4)  # d has the direction of ∇F
    average = condensation.outer_state["average"]
    assert average.shape == condensation.images.shape
    assert average.any()
    assert condensation.advance()["loss_perturbed"] != plain.advance()["loss_perturbed"]
    assert not torch.equal(condensation.outer_state["average"], average)


def test_a_retry_draws_the_subset_anew(data, trajectories):
    def drawn(number):
        condensation = begin(data, trajectories)
        draw, seen = condensation._draw_loop, []

        def spy(generator, count=None, **more):
            seen.append((generator.initial_seed(), count))
            return draw(generator, count, **more)

        condensation._draw_loop = spy
        condensation.attempt(Retry(number))
        return seen

    first, again, retried = drawn(0), drawn(0), drawn(1)
    assert first == again
    assert [count for _, count in first] == [count for _, count in retried] == [None, 3]
    assert all(one[0] != other[0] for one, other in zip(first, retried, strict=True))


@pytest.mark.parametrize("base", ["mtt", "satm", "datm"])
@pytest.mark.parametrize("stop", [0, 1, 4])
def test_stopped_and_restored_is_uninterrupted_to_the_bit(data, trajectories, base, stop):
    config = over(base)
    whole = begin(data, trajectories, config)
    expected = [whole.advance() for _ in range(6)]
    first = begin(data, trajectories, config)
    measured = [first.advance() for _ in range(stop)]
    second = begin(data, trajectories, config)
    second.restore({name: value.clone() for name, value in first.state().items()})
    measured += [second.advance() for _ in range(6 - stop)]
    assert measured == expected
    assert all(torch.equal(value, second.state()[name]) for name, value in whole.state().items())
    assert isinstance(second, MDC)


def test_over_takes_the_bases_defaults_for_settings_that_are_not_given():
    satm = over("satm").base_config()
    assert (satm.outer.rule, satm.step_size_derivative, satm.momentum_step_size) == ("satm", "first_order", 0.0)
    assert satm.lr_images == 2.0
    for momentum in (0.25, 0.5):  # also the value that is the default of `TrajectoryConfig`
        assert over("satm", momentum_step_size=momentum).base_config().momentum_step_size == momentum
    assert replace(CONFIG, base="satm").base_config().outer.rule == "sgd"  # not satm's default
    assert (over("tesla").base_config().engine, over("datm").base_config().init) == ("tesla", "right")
    assert over("datm", init="real").base_config().init == "real"
    assert replace(CONFIG, outer=OUTER.get("sam").config()).base_config().outer.rule == "sam"
    assert over("satm", inner_steps=9).truncation().window == 3
    assert replace(CONFIG, inner_steps=9).truncation().window == 9
    assert replace(CONFIG, period=None, outer_steps=400).steps_between_choices() == 20
    assert replace(CONFIG, period=None, outer_steps=3).steps_between_choices() == 1


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"base": "mttt"}, UnknownName, "did you mean mtt"),
        ({"base": "dc"}, ConfigError, "base dc: expected a method that matches trajectories: .*mtt"),
        ({"base": "mdc"}, ConfigError, "base mdc"),
        ({"init": "right"}, ConfigError, "init right: base mtt begins from no teacher; set init=real"),
        ({"period": 0}, ConfigError, "period 0"),
        ({"sizes": (2, 1)}, ConfigError, r"sizes \[2, 1\]"),
        ({"sizes": (0, 1)}, ConfigError, r"sizes \[0, 1\]"),
        ({"batch_real": 0}, ConfigError, "batch_real 0"),
    ],
)
def test_wrong_settings_are_refused_by_name(change, error, match):
    with pytest.raises(error, match=match):
        replace(CONFIG, **change)


def test_sizes_above_the_set_are_refused_before_any_work(data):
    request = Request(
        method="mdc",
        settings=replace(CONFIG, sizes=(1, 5)),
        architecture=ARCHITECTURE,
        experts=EXPERTS,
        data=data,
        ipc=4,
    )
    with pytest.raises(ConfigError, match=r"sizes \[1, 5\].*no prefix of 5"):
        METHODS.get("mdc").check(request)
    METHODS.get("mdc").check(replace(request, ipc=5))
