"""The numbers of a matrix, and the comparison of each row with another one."""

from __future__ import annotations

import math

import pytest

from evaluation.matrix import Matrix, MatrixRow, cells


def line(name, own="convnet3", memory="condensed", **accuracies):
    by_repeat = {arch: dict(enumerate(values)) for arch, values in accuracies.items()}
    return MatrixRow(name=name, memory=memory, profile="smoke", own=own, accuracies=by_repeat)


A = line("a", convnet3=[0.5, 0.6], vgg11=[0.2, 0.4])
B = line("b", convnet3=[0.4, 0.5], vgg11=[0.3])


def matrix(*sets, **changes):
    return Matrix(recipe="mtt", architectures=("convnet3", "vgg11"), sets=sets, **changes)


def test_a_line_knows_its_means_and_what_it_loses():
    assert (A.score("vgg11").mean, A.score("vgg11").n) == (pytest.approx(0.3), 2)
    assert A.drop("vgg11").mean == pytest.approx(0.25)
    assert A.drop("convnet3") is None
    assert A.score("alexnet") is A.drop("alexnet") is None


def test_differences_are_paired_by_repeat():
    assert A.difference(B, "convnet3").half == pytest.approx(0, abs=1e-9)
    one = A.difference(B, "vgg11")  # both have only repeat 0
    assert (one.mean, one.n, one.half) == (pytest.approx(-0.1), 1, math.inf)
    late = MatrixRow(name="c", memory="condensed", profile="smoke", own="convnet3", accuracies={"vgg11": {7: 0.1}})
    assert A.difference(late, "vgg11") is None


def test_a_set_is_not_compared_with_itself_and_random_with_nothing():
    random = line("a", memory="random", convnet3=[0.1, 0.2])
    compared = matrix(A, B, randoms=(random,), against={"a": A, "b": A})
    assert compared.difference(A, "convnet3") is compared.difference(random, "convnet3") is None
    assert compared.difference(B, "convnet3").mean == pytest.approx(-0.1)
    assert matrix(A, B).difference(B, "convnet3") is None


def test_orders_are_of_sets_judged_out_of_domain():
    sets = [line(str(k), convnet3=[k / 10], vgg11=[(4 - k) / 10]) for k in range(1, 4)]
    elsewhere = line("own", own="vgg11", vgg11=[0.9], convnet3=[0.9])
    found = matrix(*sets, elsewhere).rank_correlation("vgg11")
    assert (found.kendall, found.spearman, found.n) == (pytest.approx(-1), pytest.approx(-1), 3)
    assert matrix(*sets).rank_correlation("convnet3").n == 0


def test_one_row_a_cell_with_fractions_and_no_endless_interval():
    columns, rows = cells(matrix(A, B, against={"a": B, "b": B}))
    table = [dict(zip(columns, row, strict=True)) for row in rows]
    assert [(row["set"], row["architecture"], row["n"]) for row in table] == [
        ("a", "convnet3", 2), ("a", "vgg11", 2), ("b", "convnet3", 2), ("b", "vgg11", 1),
    ]  # fmt: skip
    assert [row["in_domain"] for row in table] == [True, False, True, False]
    assert (table[3]["low"], table[3]["high"]) == (None, None)
    assert table[0]["mean"] == pytest.approx(0.55)
    assert table[0]["low"] < 0.55 < table[0]["high"]
    assert [row["against"] for row in table] == ["b", "b", None, None]
    assert table[1]["drop"] == pytest.approx(0.25)
    assert all(not isinstance(v, float) or math.isfinite(v) for row in rows for v in row)
