import math
from dataclasses import replace
from statistics import fmean

import pytest
import torch

from evaluation import (
    METRICS,
    RECIPES,
    Earlier,
    RateChoice,
    Trainer,
    confusion_matrix,
    evaluate,
    from_predictions,
)
from evaluation.cross_arch import CHOOSING
from satm.data import load
from satm.errors import ConfigError, Diverged, Interrupted, ShapeError, UnknownName
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
    grid = replace(brief, grid=(1e-9, 0.05, 1e6), repeats=1)
    bare = memory(step_size=None)

    def learned(examples, learning_rate=None, **kwargs):
        asked = grid.variant(learning_rate=learning_rate)
        (result,) = evaluate(examples, patterns, SMALL[:1], asked, seed=Seed(0), **kwargs)
        return result.learning_rate, result.policy

    assert learned(memory(step_size=0.02)) == (0.02, "learned")
    assert learned(memory(step_size=0.02), learning_rate=0.03) == (0.03, "fixed")
    assert learned(memory(step_size=0.02), learning_rate="grid") == (0.05, "grid on validation")
    assert learned(bare) == (0.05, "grid on validation")
    assert learned(bare, earlier=Earlier(learning_rates={SMALL[0]: RateChoice(rate=0.04)})) == (
        0.04,
        "grid on validation",
    )
    assert learned(patterns.train) == (0.05, "grid on validation")  # real images have no step size either


def test_a_memory_can_be_drawn_anew_for_every_repeat(patterns, brief):
    asked = []

    def random(repeat):
        asked.append(repeat)
        return memory(seed=repeat, step_size=None)

    results = evaluate(random, patterns, SMALL, replace(brief, epochs=1, grid=(0.05, 0.02)), seed=Seed(0))
    choosing = [CHOOSING - k for k in range(5)]
    assert asked == [0, *choosing, 1] * 2  # chosen once for each architecture, on five separate draws
    assert {result.choice.networks for result in results} == {5}
    one = replace(brief, epochs=1, grid=(0.05,), rate_networks=1)
    asked.clear()
    evaluate(random, patterns, SMALL[:1], one, seed=Seed(0))
    assert asked == [0, CHOOSING, 1]
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
    evaluate(sets.__getitem__, patterns, SMALL[:1], brief, seed=Seed(0), on_result=seen.append)
    assert [(r.repeat, r.diverged) for r in seen] == [(0, True), (1, False)]
    assert seen[0].metrics == {"diverged": 1.0}
    assert math.isnan(seen[0].accuracy)
    assert (seen[0].predicted, seen[0].learning_rate) == (None, 1e6)


def test_a_grid_without_a_rate_that_works_is_tried_once(patterns, brief):
    asked = []

    def random(repeat):
        asked.append(repeat)
        return memory(seed=repeat, step_size=None)

    hopeless = replace(brief, grid=(1e6,))
    with pytest.raises(Diverged, match=r"^convnet3_w16 diverges at every .*; convnet3_w8 diverges at every"):
        evaluate(random, patterns, SMALL, hopeless, seed=Seed(0))
    assert asked.count(CHOOSING) == 2  # once for each architecture


def test_predictions_give_the_metrics_that_need_no_more(patterns, brief):
    (result,) = evaluate(memory(), patterns, SMALL[:1], brief, seed=Seed(0), repeats=1)
    targets = patterns.test.labels.numpy()
    for name in ("accuracy", "macro_accuracy"):
        assert from_predictions(METRICS.get(name), result.predicted.numpy(), targets, 3) == result.metrics[name]
    with pytest.raises(ConfigError, match="negative_log_likelihood needs logits"):
        from_predictions(METRICS.get("negative_log_likelihood"), result.predicted.numpy(), targets, 3)


def test_a_confusion_matrix_counts_rows_of_true_classes():
    assert confusion_matrix([0, 1, 1, 2], [0, 0, 1, 2], 3).tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    with pytest.raises(ShapeError, match="same length"):
        confusion_matrix([0, 1], [0], 3)
    with pytest.raises(ConfigError, match="classes 0 to 3: expected classes in 0 to 2"):
        confusion_matrix([0, 3], [0, 1], 3)


def test_real_digits_are_learned():
    data = load("digits")
    five_a_class = torch.cat([(data.train.labels == label).nonzero()[:5, 0] for label in range(10)])
    recipe = RECIPES.get("smoke").variant(augment="color_crop_scale_rotate", learning_rate=0.05)
    (result,) = evaluate(data.train.subset(five_a_class), data, ["convnet3_w64"], recipe, seed=Seed(0), repeats=1)
    assert result.accuracy > 0.65
