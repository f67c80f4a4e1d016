from dataclasses import replace
from statistics import fmean

import pytest
import torch

from evaluation import METRICS, RECIPES, Earlier, Trainer, evaluate
from evaluation.cross_arch import CHOOSING
from satm.data import load
from satm.errors import Diverged, Interrupted, ShapeError, UnknownName
from satm.preprocessing import MeanStd
from satm.rng import Seed
from tests.evaluation.conftest import StopAfter, memory

SMALL = ("convnet3_w16", "convnet3_w8")


def untimed(results):
    return [replace(result, seconds=0.0) for result in results]


def test_every_network_is_trained_and_handed_on(patterns, recipe):
    seen = []
    results = evaluate(memory(), patterns, SMALL, recipe, seed=Seed(0), on_result=seen.append)
    assert [(r.architecture, r.repeat) for r in results] == [(name, k) for name in SMALL for k in range(2)]
    assert seen == results
    assert len({r.seed for r in results}) == 4
    assert all(set(r.metrics) == set(METRICS) for r in results)
    assert all(r.seconds > 0 and r.adaptation == {} for r in results)
    assert all((r.learning_rate, r.policy) == (0.05, "learned") for r in results)
    assert fmean(r.accuracy for r in results if r.architecture == "convnet3_w16") > 0.8


def test_order_skipping_and_stopping_change_no_number(patterns, brief):
    whole = untimed(evaluate(memory(), patterns, SMALL, brief, seed=Seed(0)))
    assert len({r.accuracy for r in whole}) > 1
    backwards = untimed(evaluate(memory(), patterns, SMALL[::-1], brief, seed=Seed(0)))
    assert sorted(backwards, key=whole.index) == whole

    kept = []
    stop = StopAfter(
        2 * brief.epochs
    )  # a question before each network and after each epoch: stops in the second network
    with pytest.raises(Interrupted, match="same command continues"):
        evaluate(memory(), patterns, SMALL, brief, seed=Seed(0), trainer=Trainer(progress=stop), on_result=kept.append)
    assert untimed(kept) == whole[:1]
    done = {(r.architecture, r.repeat) for r in kept}
    assert untimed(evaluate(memory(), patterns, SMALL, brief, seed=Seed(0), earlier=Earlier(trained=done))) == whole[1:]
    other = untimed(evaluate(memory(), patterns, SMALL, brief, seed=Seed(1)))
    assert {r.seed for r in other}.isdisjoint(r.seed for r in whole)


@pytest.mark.slow
def test_compiled_networks_are_the_plain_ones_and_stopping_changes_no_bit(patterns, brief):
    eager, compiled = Trainer(compilation="eager"), Trainer(compilation="compiled")
    plain = evaluate(memory(), patterns, SMALL[1:], brief, seed=Seed(0), trainer=eager)
    whole = untimed(evaluate(memory(), patterns, SMALL[1:], brief, seed=Seed(0), trainer=compiled))
    assert [r.training for r in (*plain, *whole)] == ["eager"] * 2 + ["compiled"] * 2
    assert [r.accuracy for r in whole] == pytest.approx([r.accuracy for r in plain], abs=0.05)
    kept = []
    with pytest.raises(Interrupted):
        evaluate(
            memory(), patterns, SMALL[1:], brief, seed=Seed(0), on_result=kept.append,
            trainer=Trainer(compilation="compiled", progress=StopAfter(2 * brief.epochs)),
        )  # fmt: skip
    done = {(r.architecture, r.repeat) for r in kept}
    again = Trainer(compilation="compiled")
    rest = evaluate(memory(), patterns, SMALL[1:], brief, seed=Seed(0), trainer=again, earlier=Earlier(trained=done))
    assert untimed([*kept, *rest]) == whole


def test_short_trainings_are_not_compiled(patterns, brief):
    (result,) = evaluate(memory(), patterns, SMALL[1:], brief, seed=Seed(0), repeats=1)
    assert result.training == "eager"


def test_a_learning_rate_comes_from_where_the_policy_says(patterns, brief):
    grid = replace(brief, grid=(1e-9, 0.05), repeats=1)
    bare = memory(step_size=None)

    def learned(examples, learning_rate=None, **kwargs):
        asked = grid.variant(learning_rate=learning_rate)
        (result,) = evaluate(examples, patterns, SMALL[:1], asked, seed=Seed(0), **kwargs)
        return result.learning_rate, result.policy

    assert learned(memory(step_size=0.02)) == (0.02, "learned")
    assert learned(memory(step_size=0.02), learning_rate=0.03) == (0.03, "fixed")
    assert learned(memory(step_size=0.02), learning_rate="grid") == (0.05, "grid on validation")
    assert learned(bare) == (0.05, "grid on validation")
    assert learned(bare, earlier=Earlier(learning_rates={SMALL[0]: 0.04})) == (0.04, "grid on validation")
    assert learned(patterns.train) == (0.05, "grid on validation")  # real images have no step size either


def test_a_memory_can_be_drawn_anew_for_every_repeat(patterns, brief):
    asked = []

    def random(repeat):
        asked.append(repeat)
        return memory(seed=repeat, step_size=None)

    results = evaluate(random, patterns, SMALL, replace(brief, grid=(0.05, 0.02)), seed=Seed(0))
    assert asked == [0, CHOOSING, 1] * 2  # chosen once for each architecture, on a separate draw
    assert len(results) == 4

    alone = evaluate(lambda _: memory(seed=1), patterns, SMALL[:1], brief, seed=Seed(0), repeats=2)
    fresh = evaluate(lambda k: memory(seed=k), patterns, SMALL[:1], brief, seed=Seed(0), repeats=2)
    assert untimed(alone)[1] == untimed(fresh)[1]


def test_a_set_is_judged_in_its_own_preprocessing(patterns, recipe):
    # A shifted, narrower space: dark test images in the space of `patterns` would look bright in it.
    inverted = MeanStd((1.0,), (0.5,))
    upside_down = memory(preprocessing=inverted)
    (own,) = evaluate(upside_down, patterns, SMALL[:1], recipe, seed=Seed(0), repeats=1)
    (explicit,) = evaluate(
        upside_down, patterns.with_preprocessing(inverted), SMALL[:1], recipe, seed=Seed(0), repeats=1
    )
    assert untimed([own]) == untimed([explicit])
    assert own.accuracy > 0.8


def test_adaptations_are_recorded(patterns, recipe):
    short = replace(recipe, epochs=1, drop_at=(), repeats=1)
    (result,) = evaluate(memory(1), patterns, ["alexnet"], short, seed=Seed(0))
    assert result.adaptation == {"resize": 32}


def test_a_wrong_request_trains_nothing(patterns, recipe):
    seen = []
    with pytest.raises(UnknownName, match="unknown architecture 'resnet1888'"):
        evaluate(memory(), patterns, ["convnet3_w16", "resnet1888"], recipe, seed=Seed(0), on_result=seen.append)
    wide = memory(images=torch.zeros(12, 1, 16, 9))
    with pytest.raises(ShapeError, match=r"3 classes and images \(1, 16, 9\), to be judged on patterns"):
        evaluate(wide, patterns, ["convnet3_w16"], recipe, seed=Seed(0), on_result=seen.append)
    assert seen == []


def test_one_divergence_does_not_cost_the_others(patterns, brief):
    seen = []
    sets = {0: memory(step_size=1e6), 1: memory()}
    with pytest.raises(Diverged, match=r"no accuracy for convnet3_w16 \(repeat 0: .*choose the learning rate"):
        evaluate(sets.__getitem__, patterns, SMALL[:1], brief, seed=Seed(0), on_result=seen.append)
    assert [r.repeat for r in seen] == [1]


def test_real_digits_are_learned():
    data = load("digits")
    five_a_class = torch.cat([(data.train.labels == label).nonzero()[:5, 0] for label in range(10)])
    recipe = RECIPES.get("smoke").variant(augment="color_crop_scale_rotate", learning_rate=0.05)
    (result,) = evaluate(data.train.subset(five_a_class), data, ["convnet3_w64"], recipe, seed=Seed(0), repeats=1)
    assert result.accuracy > 0.65
