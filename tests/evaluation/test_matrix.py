"""The numbers of a matrix, and the comparison of each row with another one."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from evaluation.matrix import Matrix, MatrixRow, cells
from satm.errors import ConfigError
from satm.statistics import accuracy_interval, compare, crossed, fresh_draws, kendall_interval

Y = [[0.50, 0.60, 0.55], [0.62, 0.66, 0.67], [0.41, 0.52, 0.50]]  # [condensations, networks]
Z = [[0.40, 0.55, 0.50], [0.50, 0.64, 0.52], [0.44, 0.45, 0.46]]


def line(name, own="convnet3", memory="condensed", **accuracies):
    """A row; a list of numbers is a single set of seed 0, a list of lists a group of the seeds 0, 1, …"""
    tables = {arch: values if isinstance(values[0], list) else [values] for arch, values in accuracies.items()}
    by_seed = {arch: {s: dict(enumerate(row)) for s, row in enumerate(rows)} for arch, rows in tables.items()}
    return MatrixRow(name=name, memory=memory, profile="smoke", own=own, ipc=1, accuracies=by_seed)


A = line("a", convnet3=[0.5, 0.6], vgg11=[0.2, 0.4])
B = line("b", convnet3=[0.4, 0.5], vgg11=[0.3])
GROUP = line("group", convnet3=Y, vgg11=Z)


def matrix(*sets, **changes):
    return Matrix(recipe="mtt", architectures=("convnet3", "vgg11"), sets=sets, **changes)


def test_the_mean_of_a_group_is_the_crossed_estimate():
    found, expected = GROUP.score("convnet3"), crossed(Y)
    assert found.estimate == expected
    assert found.interval == accuracy_interval(expected)
    assert (found.condensations, found.networks, found.left_out) == (3, 3, 0)
    assert found.between_condensations == expected.between_condensations
    assert found.between_networks == expected.between_networks
    # As if all networks were independent values, the interval would be far too narrow.
    assert found.interval[1] - found.interval[0] > 2 * 2.306 * np.std(Y, ddof=1) / 3
    short = replace(GROUP, accuracies={"convnet3": {**GROUP.accuracies["convnet3"], 3: {0: 0.5, 1: 0.6}}})
    assert (short.score("convnet3").networks, short.score("convnet3").left_out) == (2, 3)


def test_a_single_set_speaks_of_itself_only():
    three = line("a", convnet3=[0.5, 0.6, 0.7]).score("convnet3")
    assert (three.estimate.scope, three.estimate.n, three.estimate.counts) == ("this set only", 3, "networks")
    assert three.interval == accuracy_interval(crossed([[0.5, 0.6, 0.7]]))
    assert A.score("vgg11").estimate.mean == pytest.approx(0.3)
    assert A.score("vgg11").interval is None  # two networks
    assert A.score("alexnet") is A.drop("alexnet") is A.drop("convnet3") is None


def test_intervals_never_claim_certainty():
    sure = line("a", convnet3=[1.0, 1.0, 1.0])
    assert sure.score("convnet3").interval is None
    low, high = replace(sure, images=100).score("convnet3").interval
    assert high == 1
    assert low == pytest.approx(0.025 ** (1 / 100))
    low, high = line("a", convnet3=[0.95, 0.97, 0.999]).score("convnet3").interval
    assert 0 < low < high < 1


def test_random_images_count_their_draws():
    found = replace(line("a", memory="random", convnet3=Y[0]), draws=True).score("convnet3")
    assert found.estimate == fresh_draws(Y[0])
    assert (found.estimate.counts, found.estimate.scope) == ("draws", "new draws")
    drop = replace(line("a", memory="random", convnet3=Y[0], vgg11=Z[0]), draws=True).drop("vgg11")
    assert (drop.mean, drop.scope) == (pytest.approx(np.mean(Y[0]) - np.mean(Z[0])), "new draws")


def test_diverged_networks_count_as_chance():
    lost = replace(GROUP, chance=0.1, diverged={"convnet3": {1: frozenset({3})}})
    full = {seed: {**row, 3: 0.6} for seed, row in GROUP.accuracies["convnet3"].items() if seed != 1}
    lost = replace(lost, accuracies={"convnet3": {**full, 1: GROUP.accuracies["convnet3"][1]}})
    found = lost.score("convnet3")
    assert found.estimate == crossed([[*Y[0], 0.6], [*Y[1], 0.1], [*Y[2], 0.6]])
    assert (found.diverged, len(found.survivors)) == (1, 11)
    columns, rows = cells(Matrix(recipe="mtt", architectures=("convnet3",), sets=(lost,)))
    row = dict(zip(columns, rows[0], strict=True))
    assert row["mean"] == pytest.approx((sum(map(sum, Y)) + 1.2) / 11)
    assert row["mean_all"] == pytest.approx((sum(map(sum, Y)) + 1.3) / 12)
    assert (row["diverged"], row["networks"]) == (1, 4)
    with pytest.raises(ConfigError, match="1 networks diverged and the chance accuracy is not known"):
        replace(lost, chance=None).score("convnet3")


def test_a_drop_is_paired_by_condensation_and_network():
    assert GROUP.drop("vgg11") == compare(Y, Z).difference
    assert A.drop("vgg11").mean == pytest.approx(0.25)
    assert A.drop("vgg11").scope == "this set only"


def test_differences_of_groups_are_paired_by_seed_and_network():
    other = line("other", convnet3=Z)
    assert GROUP.difference(other, "convnet3") == compare(Y, Z).difference
    two = replace(other, accuracies={"convnet3": {s: other.accuracies["convnet3"][s] for s in (0, 2)}})
    assert GROUP.difference(two, "convnet3") == compare([Y[0], Y[2]], [Z[0], Z[2]]).difference
    apart = replace(other, accuracies={"convnet3": {s + 5: row for s, row in other.accuracies["convnet3"].items()}})
    assert GROUP.difference(apart, "convnet3") is None


def test_differences_of_single_sets_are_paired_by_network():
    found = A.difference(B, "convnet3")
    assert (found.mean, found.se, found.scope) == (pytest.approx(0.1), 0, "these two sets only")
    reseeded = replace(B, accuracies={"convnet3": {4: B.accuracies["convnet3"][0]}})
    assert A.difference(reseeded, "convnet3") == found
    one = A.difference(B, "vgg11")  # both have only repeat 0
    assert (one.mean, one.n, one.ends()) == (pytest.approx(-0.1), 1, None)
    late = replace(A, accuracies={"vgg11": {0: {7: 0.1}}})
    assert A.difference(late, "vgg11") is None
    assert A.difference(late, "convnet3") is None


def test_random_images_belong_to_no_seed():
    random = replace(line("group", memory="random", convnet3=Z[0]), draws=True)
    found = GROUP.difference(random, "convnet3")
    assert found == replace(compare(Y, [Z[0]] * 3).difference, scope="new condensations and new draws")
    assert A.difference(random, "convnet3").scope == "this set only"


def test_a_set_is_not_compared_with_itself_and_random_with_nothing():
    random = replace(line("a", memory="random", convnet3=[0.1, 0.2]), draws=True)
    compared = matrix(A, B, randoms=(random,), against={"a": A, "b": A})
    assert compared.difference(A, "convnet3") is compared.difference(random, "convnet3") is None
    assert compared.difference(B, "convnet3").mean == pytest.approx(-0.1)
    assert matrix(A, B).difference(B, "convnet3") is None


SINGLE = [line(str(k), convnet3=[k / 10], vgg11=[(4 - k) / 10]) for k in range(1, 4)]


def test_orders_are_of_sets_judged_out_of_domain():
    elsewhere = line("own", own="vgg11", vgg11=[0.9], convnet3=[0.9])
    found = matrix(*SINGLE, elsewhere).ranking("vgg11")
    ranks = found.correlation
    assert (ranks.kendall, ranks.spearman, ranks.n) == (pytest.approx(-1), pytest.approx(-1), 3)
    assert (found.interval, found.missing) == (None, "no interval: it needs three seeds that all groups have")
    assert matrix(*SINGLE).ranked("convnet3") == ()


def test_the_order_of_groups_has_a_bootstrap_interval():
    tables = [(np.add(Y, k / 20), np.add(Z, shift)) for k, shift in enumerate((0.02, 0.0, 0.05))]
    groups = [line(str(k), convnet3=y.tolist(), vgg11=z.tolist()) for k, (y, z) in enumerate(tables)]
    found = matrix(*groups).ranking("vgg11")
    first, second = (np.stack(side) for side in zip(*tables, strict=True))
    assert found.correlation.kendall == pytest.approx(1 / 3)
    assert found.interval == kendall_interval(first, second, np.random.default_rng(0))
    assert found.missing == ""


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ipc": 10}, "IPC 1, 10 are mixed"),
        ({"policies": {"convnet3": "learned", "vgg11": "learned"}}, "rates of the policies grid, learned are mixed"),
        ({"origins": frozenset({"group"})}, "1 and 3 differ in the seed only, or come from one set"),
    ],
)
def test_orders_that_say_nothing_are_not_computed(changes, reason):
    policies = {"convnet3": "grid", "vgg11": "grid"}
    first, *others = (replace(row, policies=policies) for row in SINGLE)
    first = replace(first, origins=frozenset({"group", "set:1"}))
    assert matrix(first, *others).ranking("vgg11").correlation is not None
    mixed = matrix(first, others[0], replace(others[1], **changes))
    found = mixed.ranking("vgg11")
    assert found.correlation is None
    assert reason in found.missing
    columns, rows = cells(mixed)
    assert {row[columns.index("kendall")] for row in rows} == {None}
    assert matrix(*SINGLE[:2]).ranking("vgg11").missing == "2 sets are too few"


def test_one_row_a_cell_with_fractions_and_no_endless_interval():
    columns, rows = cells(matrix(A, B, GROUP, against={"a": B, "b": B}))
    table = [dict(zip(columns, row, strict=True)) for row in rows]
    assert [(row["set"], row["architecture"], row["n"], row["counts"]) for row in table] == [
        ("a", "convnet3", 2, "networks"), ("a", "vgg11", 2, "networks"), ("b", "convnet3", 2, "networks"),
        ("b", "vgg11", 1, "networks"), ("group", "convnet3", 3, "condensations"),
        ("group", "vgg11", 3, "condensations"),
    ]  # fmt: skip
    assert [row["in_domain"] for row in table] == [True, False, True, False, True, False]
    assert [(row["low"], row["high"]) for row in table[:4]] == [(None, None)] * 4  # fewer than three networks
    assert table[0]["mean"] == table[0]["mean_all"] == pytest.approx(0.55)
    assert table[0]["std"] == pytest.approx(0.05)
    assert (table[4]["condensations"], table[4]["networks"]) == (3, 3)
    assert table[4]["std_condensations"] == crossed(Y).between_condensations
    assert table[4]["std_networks"] == crossed(Y).between_networks
    assert (table[0]["std_condensations"], table[0]["std_networks"]) == (None, pytest.approx(0.05 * 2**0.5))
    assert [row["against"] for row in table[:4]] == ["b", "b", None, None]
    assert table[1]["drop"] == pytest.approx(0.25)
    assert table[5]["drop_low"] == compare(Y, Z).difference.low
    assert all(not isinstance(v, float) or math.isfinite(v) for row in rows for v in row)
