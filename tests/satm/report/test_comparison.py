"""Lines of estimates and verdicts, as they are printed."""

from __future__ import annotations

import numpy as np

from satm.report.comparison import best_line, comparison_line, crossed_line, family_lines
from satm.statistics import against_control, compare, crossed

# Condensations of sd 1 and networks that all agree: SE 0.577 points, 2 df, a half-width of 2.484 points.
SEEDS = np.array([[-0.01], [0], [0.01]]) + np.zeros((3, 5))


def line(by: float, scale: float = 1.0) -> str:
    return comparison_line("a", "b", compare(0.5 + by + scale * SEEDS, np.full((3, 5), 0.5)))


def test_a_verdict_is_one_sentence():
    size = "3 condensations × 5 networks"
    assert line(0.03) == f"a − b: +3.0 [0.5, 5.5], {size}: holds at δ = 1"
    assert line(0.04) == f"a − b: +4.0 [1.5, 6.5], {size}: holds, by at least δ = 1"
    assert line(-0.03) == f"a − b: -3.0 [-5.5, -0.5], {size}: does not hold at δ = 1"
    assert line(0, 0.5) == f"a − b: +0.0 [-1.2, 1.2], {size}: equivalent at δ = 1"
    needed = "(power 18%; 80% needs about 10 condensations)"
    assert line(0.01) == f"a − b: +1.0 [-1.5, 3.5], {size}: cannot tell at δ = 1 {needed}"


def test_too_few_condensations_say_why():
    one = compare(np.full((1, 5), 0.6), np.full((1, 5), 0.5), 0.02)
    assert comparison_line("a", "b", one) == "a − b: +10.0, 1 condensation × 5 networks: cannot tell (this set only)"
    equal = comparison_line("a", "b", compare(np.full((3, 5), 0.6), np.full((3, 5), 0.5)))
    assert equal.endswith("3 condensations × 5 networks: cannot tell (an interval needs differences that vary)")
    two = comparison_line("a", "b", compare(np.full((2, 1), 0.6), np.full((2, 1), 0.5)))
    assert two == "a − b: +10.0, 2 condensations × 1 network: cannot tell (an interval needs 3 condensations)"


def test_with_two_networks_the_interval_speaks_of_these_only():
    two = compare(0.53 + SEEDS[:, :2], np.full((3, 2), 0.5))
    text = "a − b: +3.0 [0.5, 5.5], 3 condensations × 2 {} (new condensations, these {} only): holds at δ = 1"
    assert comparison_line("a", "b", two) == text.format("networks", "networks")
    assert comparison_line("a", "b", two, unit="order") == text.format("orders", "class orders")


def test_means_with_both_spreads():
    y = 0.7 + SEEDS + np.array([-0.02, -0.01, 0, 0.01, 0.02])
    found = crossed_line(crossed(y))  # SE² = (5e-4 + 7.5e-4)/15, df = 5.88, t = 2.459, d = t·SE/0.21
    assert found == "70.0 [67.7, 72.2], 3 condensations × 5 networks, between condensations 1.0, networks 1.6"
    assert crossed_line(crossed(y), (0.6, 0.8)).startswith("70.0 [60.0, 80.0], ")
    single = "69.0, 1 condensation × 5 networks (this set only), between networks 1.6"
    assert crossed_line(crossed(y[:1])) == single
    assert crossed_line(crossed(y[:1]), (0.6, 0.8)) == single
    assert crossed_line(crossed([[0.5]])) == "50.0, 1 condensation × 1 network (this set only)"
    assert crossed_line(crossed(np.ones((3, 2)))).startswith("100.0, 3 condensations")  # never [100.0, 100.0]


def test_families_print_the_corrected_verdict():
    zero = np.zeros((3, 5))
    found = family_lines(against_control({"a": zero + 0.03 + SEEDS, "b": zero + 0.03 + SEEDS, "c": zero}, "c"))
    needed = "(power 18%; 80% needs about 10 condensations)"
    size = "3 condensations × 5 networks"
    assert found[0] == f"a − c: +3.0 [0.5, 5.5], {size}, Holm p = 0.07: cannot tell at δ = 1 {needed}"
    (single,) = family_lines(against_control({"a": zero[:1], "c": zero[:1]}, "c"))
    assert single == "a − c: +0.0, 1 condensation × 5 networks: cannot tell (this set only)"
    (sure,) = family_lines(against_control({"a": zero + 0.3 + SEEDS / 100, "c": zero}, "c"))
    assert sure.endswith("Holm p < 0.001: holds, by at least δ = 1")
    assert best_line(("a", "b"), 5) == "may be best of 5 methods (95%): a, b"
