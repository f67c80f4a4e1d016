"""Results of groups: what their means and intervals count, and how tables print them. Nothing is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import satm
from registry import PredictionRow, Registry
from satm.cli._short import ends_text, short_lines
from satm.cli._tables import plain_table, results_table
from satm.report.comparison import crossed_line
from satm.statistics import accuracy_interval, crossed
from satm.workflow.grouped import GroupRow
from tests.registry.helpers import result
from tests.registry.test_groups import condensed

SEEDS, NETWORKS = 3, 5
ACCURACIES = np.array([[0.60, 0.62, 0.61, 0.65, 0.63], [0.70, 0.71, 0.69, 0.74, 0.72], [0.64, 0.66, 0.63, 0.69, 0.65]])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "satm.db"


def fill(path: Path, values: Any, **changes: Any) -> str:
    """Store a set for each row of `values` and a result for each value; returns the id of the recipe."""
    with Registry.open(path) as registry:
        recipe = registry.add_recipe("smoke", {})
        for seed, row in enumerate(values):
            record = registry.add_set(condensed(seed), run=None)
            given = {"metric": "accuracy", "detail": {"policy": "learned"}, **changes}
            registry.add_results(
                [result(record.id, recipe, repeat=r, value=float(v), **given) for r, v in enumerate(row)]
            )
    return recipe


def only(path: Path, reference: str = "cifar10/ipc2/satm", **filters: Any) -> GroupRow:
    (row,) = satm.group_results([reference], registry=path, **filters)
    return row


def test_a_group_s_mean_is_crossed_and_its_interval_stays_within_0_and_1(path: Path) -> None:
    fill(path, ACCURACIES)
    row, expected = only(path), crossed(ACCURACIES)
    assert row.estimate == expected
    assert row.interval == accuracy_interval(expected)
    assert (row.condensations, row.networks) == (SEEDS, NETWORKS)
    assert row.between_condensations == expected.between_condensations > 0.04
    assert row.between_networks == expected.between_networks
    _, ((*_, mean, ends, condensations, networks, n),) = results_table([row])
    assert (mean, condensations, networks, n) == ("66.3 %", "4.6", "2.0", "3 condensations × 5 networks")
    assert ends == "[55.6, 75.5]"  # far wider than the 15 networks would have it
    plain = dict(zip(*[each if i == 0 else each[0] for i, each in enumerate(plain_table([row]))], strict=True))
    assert (plain["set"], plain["policy"], plain["counts"], plain["n"]) == (
        "cifar10/ipc2/satm",
        "learned",
        "condensations",
        3,
    )


def test_a_single_set_speaks_of_itself_only(path: Path) -> None:
    fill(path, ACCURACIES)
    row = only(path, "cifar10/ipc2/satm@2")
    assert (row.estimate.scope, row.estimate.n, row.between_condensations) == ("this set only", NETWORKS, None)
    assert results_table([row])[1][0][-1] == "5 networks, this set only"
    assert len(satm.group_results(registry=path)) == 1
    assert len(satm.group_results(each=True, registry=path)) == SEEDS


@pytest.mark.parametrize(("values", "interval"), [([[0.9, 0.8]], None), ([[1.0] * 5], None)])
def test_no_interval_from_two_networks_or_from_equal_ones(path: Path, values: Any, interval: Any) -> None:
    fill(path, values)
    assert only(path).interval is interval


def predict(path: Path, right: Any) -> None:
    """Predictions [set, network, image] of the networks of `fill`: right or not."""
    targets = np.zeros(np.shape(right)[-1], dtype=np.uint8)
    with Registry.open(path) as registry:
        for record, networks in zip(registry.sets(), right, strict=True):
            (recipe,) = {row.recipe_id for row in registry.results(set=record.id)}
            registry.add_predictions(
                [
                    PredictionRow(
                        set_id=record.id,
                        protocol="cross-arch",
                        architecture="resnet18",
                        memory="condensed",
                        recipe_id=recipe,
                        repeat=repeat,
                        test="digest",
                        num_classes=2,
                        predicted=1 - np.asarray(each, dtype=np.uint8),
                        targets=targets,
                    )
                    for repeat, each in enumerate(networks)
                ]
            )


def test_five_perfect_networks_are_uncertain_by_their_test_images(path: Path) -> None:
    fill(path, [[1.0] * 5])
    predict(path, np.ones((1, 5, 100)))
    row = only(path)
    assert row.images == 100
    low, high = row.interval or (0, 0)
    assert (round(low, 4), high) == (0.9638, 1.0)


def test_an_interval_of_new_images_adds_their_sampling(path: Path) -> None:
    draws = np.random.default_rng(0).random((SEEDS, NETWORKS, 400))
    right = draws < np.linspace(0.2, 1.0, 400)  # some images are hard for every network
    fill(path, right.mean(axis=2))
    predict(path, right)
    these, new = only(path), only(path, new_images=True)
    shares = right.mean(axis=(0, 1))
    assert new.right == pytest.approx(shares)
    assert these.interval == accuracy_interval(these.estimate)
    assert new.interval == accuracy_interval(these.estimate, right=shares)
    narrow, wide = (np.diff(row.interval or (0, 0)) for row in (these, new))
    assert wide > 1.2 * narrow
    assert results_table([new])[1][0][-1] == "3 condensations × 5 networks, and new test images"


def test_without_all_predictions_nothing_is_said_of_new_images(path: Path) -> None:
    fill(path, ACCURACIES)
    predict(path, np.ones((SEEDS, NETWORKS - 1, 10)))
    assert only(path, new_images=True).right is None


def test_random_images_count_their_draws_once_whatever_the_number_of_sets(path: Path) -> None:
    fill(path, ACCURACIES, memory="random")
    row = only(path)
    assert (row.estimate.counts, row.estimate.n, row.condensations) == ("draws", NETWORKS, 1)
    assert row.estimate.se == pytest.approx(ACCURACIES[0].std(ddof=1) / NETWORKS**0.5)
    assert results_table([row])[1][0][-1] == "5 draws"


def test_networks_of_one_class_order_are_one_value(path: Path) -> None:
    recipe = fill(path, [[0.5], [0.6]], protocol="class-incremental", metric="final_accuracy")
    with Registry.open(path) as registry:
        for record, more in zip(registry.sets(), ((0.7, 0.4), (0.8, 0.5)), strict=True):
            given = {"protocol": "class-incremental", "metric": "final_accuracy", "detail": {"policy": "learned"}}
            # the first order's second network, and the second order
            registry.add_results(
                [result(record.id, recipe, repeat=r, value=v, **given) for r, v in zip((1000, 1), more, strict=True)]
            )
    row = only(path)
    assert row.values == {0: {0: pytest.approx(0.6), 1: 0.4}, 1: {0: pytest.approx(0.7), 1: 0.5}}
    assert results_table([row])[1][0][-1] == "2 condensations × 2 orders"
    assert (row.estimate.scope, row.interval) == ("these class orders only", None)
    alone = only(path, "cifar10/ipc2/satm@1")
    assert (alone.estimate.counts, results_table([alone])[1][0][-1]) == ("orders", "2 orders, this set only")


def test_diverged_networks_count_as_chance_and_are_named(path: Path) -> None:
    recipe = fill(path, [[0.8, 0.7]])
    with Registry.open(path) as registry:
        (record,) = registry.sets()
        detail = {"policy": "learned"}
        registry.add_results([result(record.id, recipe, repeat=2, metric="diverged", value=1.0, detail=detail)])
    row = only(path)
    assert only(path, metric="accuracy") == row
    assert row.estimate.mean == pytest.approx((0.8 + 0.7 + 0.5) / 3)  # two classes: a guess is right in half the cases
    assert (row.diverged, row.survivors) == (1, pytest.approx(0.75))
    assert "66.7 % (1 of 3 diverged and count as chance, 75.0 without them)" in results_table([row])[1][0]


def test_of_diverged_networks_those_that_count_are_said(path: Path) -> None:
    recipe = fill(path, [[0.8, 0.7], [0.6, 0.5]])
    lost = {"metric": "diverged", "value": 1.0, "detail": {"policy": "learned"}}
    with Registry.open(path) as registry:
        first, _ = registry.sets()
        registry.add_results([result(first.id, recipe, repeat=2, **lost)])  # the other condensation lacks repeat 2
    row = only(path)
    assert (row.left_out, row.trained, row.diverged, row.survivors) == (1, 4, 0, None)


def test_each_network_of_a_class_order_may_diverge(path: Path) -> None:
    stream = {"protocol": "class-incremental", "metric": "accuracy"}
    recipe = fill(path, [[0.5, 0.6, 0.7]], **stream)
    guessed = {"policy": "learned", "diverged": True}
    with Registry.open(path) as registry:
        (record,) = registry.sets()
        for repeat in (0, 1000, 1, 2):
            registry.add_results([result(record.id, recipe, repeat=repeat, value=0.5, detail=guessed, **stream)])
    row = only(path)
    assert (row.networks, row.trained, row.diverged) == (3, 4, 4)
    assert "(4 of 4 diverged and count as chance)" in " ".join(results_table([row])[1][0])


def test_policies_are_never_averaged_together(path: Path) -> None:
    recipe = fill(path, ACCURACIES)
    with Registry.open(path) as registry:
        other = registry.add_recipe("smoke, lr grid", {"learning_rate": "grid"})
        for record in registry.sets():
            registry.add_results([result(record.id, other, value=0.9, detail={"policy": "grid"}, metric="accuracy")])
    assert recipe != other
    rows = satm.group_results(["cifar10/ipc2/satm"], registry=path)
    assert {(row.cell.policy, row.networks) for row in rows} == {("learned", NETWORKS), ("grid", 1)}


def test_a_network_that_one_set_lacks_is_left_out_of_all_and_counted(path: Path) -> None:
    fill(path, [[0.6, 0.7, 0.8], [0.5, 0.6]])
    row = only(path)
    assert (row.networks, row.left_out) == (2, 1)
    assert results_table([row])[1][0][-1] == "2 condensations × 2 networks (1 value left out)"


def test_the_view_has_the_same_mean(path: Path) -> None:
    fill(path, ACCURACIES)
    sql = "SELECT mean, std_of_set_means, condensations, networks FROM group_summary"
    ((mean, std, condensations, networks),) = satm.query(sql, registry=path)[1]
    assert mean == pytest.approx(only(path).estimate.mean)
    assert std == pytest.approx(ACCURACIES.mean(axis=1).std(ddof=1))
    assert (condensations, networks) == (SEEDS, NETWORKS)


def test_the_view_counts_a_seed_that_is_stored_twice_once(path: Path) -> None:
    fill(path, [[0.6, 0.8], [0.5, 0.7]])
    with Registry.open(path) as registry:
        again = replace(condensed(0), images=condensed(7).images)
        record = registry.add_set(again, run=None)
        (recipe,) = {row.recipe_id for row in registry.results()}
        registry.add_results(
            [
                result(record.id, recipe, repeat=r, value=0.9, metric="accuracy", detail={"policy": "learned"})
                for r in (0, 1)
            ]
        )
    sql = "SELECT mean, std_of_set_means, condensations FROM group_summary"
    ((mean, std, condensations),) = satm.query(sql, registry=path)[1]
    row = only(path, "cifar10/ipc2/satm")  # the newest set of seed 0, and that of seed 1
    assert (row.estimate.mean, row.condensations) == (pytest.approx(0.75), 2)
    assert (mean, condensations) == (pytest.approx(0.75), 2)
    assert std == pytest.approx(np.std([0.9, 0.6], ddof=1))


def test_every_set_of_shared_experts_is_shown_beside_sets_with_experts_of_their_own(path: Path) -> None:
    with Registry.open(path) as registry:
        recipe = registry.add_recipe("smoke", {})
        sets = [condensed(0, experts=0), condensed(1, experts=0), condensed(2, experts=0), condensed(1, experts=1)]
        for number, each in enumerate(sets):
            record = registry.add_set(each, run=None)
            values = {"accuracy": 0.1 * number, **({"macro_accuracy": 0.5} if number == 0 else {})}
            registry.add_results([result(record.id, recipe, metric=name, value=v) for name, v in values.items()])
    found = {(row.group.name, row.cell.metric): row.estimate.mean for row in satm.group_results(registry=path)}
    assert found.pop(("cifar10/ipc2/satm@1-3", "accuracy")) == pytest.approx(0.1)
    assert found.pop(("cifar10/ipc2/satm@1,4", "accuracy")) == pytest.approx(0.15)
    assert list(found.values()) == [0.5]  # only one set has it, so it is shown once
    alone = satm.group_results(registry=path, each=True, metric="accuracy")
    assert sorted(row.group.name[-1] for row in alone) == ["1", "2", "3", "4"]


def test_condensations_that_differ_are_never_shown_with_a_spread_of_0(path: Path) -> None:
    fill(path, [[0.330, 0.350], [0.347, 0.347]])  # the means 0.340 and 0.347 differ less than the networks do
    row = only(path)
    assert (row.between_condensations, row.interval) == (0, None)
    assert row.spread == pytest.approx(np.std([0.340, 0.347], ddof=1))
    assert ends_text(row) == "sd 0.5"
    assert short_lines([row], 200)[-1].endswith("sd: spread, of several condensations that of their means")
    columns, (line,) = results_table([row])
    assert dict(zip(columns, line, strict=True))["spread: condensations"] == "~0"
    assert "between condensations ~0, networks ~0" in crossed_line(crossed([[0.330, 0.350], [0.347, 0.347]]))
    fill(path, [[0.5, 0.6], [0.5, 0.6]], architecture="alexnet")
    equal = only(path, architecture="alexnet")  # these two condensations do not differ at all
    assert (ends_text(equal), results_table([equal])[1][0][columns.index("spread: condensations")]) == ("sd 0.0", "0.0")


def test_the_coverage_of_random_images_is_the_mean_over_the_experts_of_a_group(path: Path) -> None:
    scores = [[0.6, 0.7, 0.8], [0.5, 0.6, 0.4]]  # of the same three draws, with the experts of two sets
    fill(path, scores, protocol="coverage", metric="coverage", memory="random")
    row = only(path)
    assert row.estimate.mean == pytest.approx(0.6)
    assert (row.estimate.counts, row.estimate.n, row.size) == ("draws", 3, "3 draws")
    assert row.estimate.se == pytest.approx(np.std([0.55, 0.65, 0.6], ddof=1) / 3**0.5)
    fill(path, scores, metric="accuracy", memory="random")  # networks do not depend on the experts
    assert only(path, metric="accuracy").estimate.mean == pytest.approx(0.7)


def test_a_rate_at_the_edge_and_nothing_held_out_are_remarked(path: Path) -> None:
    fill(path, [[0.6, 0.7]], detail={"policy": "grid", "grid": {"edge": True}, "validation": 0.0})
    columns, ((*_, remarks),) = results_table([only(path)])
    assert (columns[-1], remarks) == ("remarks", "validation=0; rate at the grid's edge")
    assert plain_table([only(path)])[1][0][-1] == remarks
    with Registry.open(path) as registry:
        registry.add_results([replace(row, detail={"policy": "grid"}) for row in registry.results()])
    assert results_table([only(path)])[0][-1] == "n"


def test_every_accuracy_of_a_stream_stays_within_0_and_1(path: Path) -> None:
    fill(path, [[0.99, 0.97, 0.8]], protocol="class-incremental", metric="final_accuracy")
    row = only(path)
    assert row.interval == accuracy_interval(row.estimate)
    assert (row.interval or (0, 2))[1] < 1 < row.estimate.high  # the plain t-interval goes beyond


def test_asking_for_diverged_networks_makes_no_accuracies(path: Path) -> None:
    fill(path, [[1.0, 1.0, 1.0]], metric="diverged")
    assert satm.group_results(registry=path, metric="diverged") == []
    assert only(path).diverged == 3


def test_the_view_counts_diverged_networks_as_chance_too(path: Path) -> None:
    recipe = fill(path, [[0.8, 0.7]])
    with Registry.open(path) as registry:
        (record,) = registry.sets()
        registry.add_results(
            [result(record.id, recipe, repeat=2, metric="diverged", value=1.0, detail={"policy": "learned"})]
        )
    sql = "SELECT mean, networks, diverged FROM group_summary WHERE metric = 'accuracy'"
    ((mean, networks, diverged),) = satm.query(sql, registry=path)[1]
    assert (mean, networks, diverged) == (pytest.approx(only(path).estimate.mean), 3, 1)


def test_sets_that_share_no_network_are_shown_apart(path: Path) -> None:
    with Registry.open(path) as registry:
        recipe = registry.add_recipe("smoke", {})
        for seed, repeats in enumerate([(0, 1), (2, 3)]):
            record = registry.add_set(condensed(seed), run=None)
            registry.add_results([result(record.id, recipe, repeat=r, value=0.1 * r) for r in repeats])
    first, second = satm.group_results(registry=path)
    assert (first.group.name, second.group.name) == ("cifar10/ipc2/satm@1", "cifar10/ipc2/satm@2")
    assert (first.estimate.mean, second.estimate.mean) == (pytest.approx(0.05), pytest.approx(0.25))
    assert first.remarks == second.remarks == ("its group shares no network",)
    assert "its group shares no network" in results_table([first])[1][0]
