"""Tables that fit a width."""

from __future__ import annotations

import pytest

from satm.printable import width
from satm.report.fit import fitted, wrapped

SEPARATORS = {"set": "/", "recipe": ", "}
NAMES = ["set", "recipe", "mean"]


def fit(rows: list[list[str]], columns: list[str] = NAMES, limit: int = 80):
    return fitted(columns, rows, about=len(columns) - 1, limit=limit, separators=SEPARATORS)


def test_what_all_rows_share_is_said_once():
    table = fit([["a", "cpu", "1"], ["b", "cpu", "2"]])
    assert table.shared == ("recipe cpu",)
    assert table.columns == ("set", "mean")
    assert table.rows == (("a", "1"), ("b", "2"))


def test_the_numbers_stay_even_if_they_are_equal():
    assert fit([["a", "cpu", "1"]]).rows == (("1",),)
    assert fit([["a", "cpu", "1"]]).shared == ("set a", "recipe cpu")


def test_the_common_beginning_of_paths_and_the_common_parts_of_lists_are_said_once():
    table = fit([["cifar10/ipc1/satm@1", "cpu, dsa, lr grid", "1"], ["cifar10/ipc1/mtt", "cpu, dsa", "2"]])
    assert table.shared == ("set cifar10/ipc1/…", "recipe cpu, dsa")
    assert table.rows == (("satm@1", "lr grid", "1"), ("mtt", "", "2"))


def test_a_path_is_never_said_as_a_whole():
    assert fit([["a/b", "x", "1"], ["a/b/c", "y", "2"]]).rows == (("b", "x", "1"), ("b/c", "y", "2"))


def test_of_two_equal_columns_the_first_stays():
    table = fit([["cpu", "cpu, dsa", "1"], ["smoke", "smoke, dsa", "2"]])
    assert table.columns == ("set", "mean")
    assert table.shared == ("recipe dsa",)


def test_a_column_that_follows_from_another_moves_up_only_if_there_is_no_room():
    rows = [["condensed", "learned", "1"], ["random", "grid", "2"], ["condensed", "learned", "3"]]
    columns = ["memory", "rate", "mean"]
    assert fit(rows, columns).columns == ("memory", "rate", "mean")
    narrow = fit(rows, columns, limit=18)
    assert narrow.columns == ("memory", "mean")
    assert narrow.shared == ("rate learned (memory condensed), grid (memory random)",)


@pytest.mark.parametrize("limit", [40, 60, 80])
def test_long_names_lose_their_middle_until_the_table_fits(limit):
    rows = [[f"a-very-long-name-of-a-set-{i}-{'x' * 60}-{i}", f"recipe {'é' * 30} {i}", "12.3"] for i in range(5)]
    table = fit(rows, limit=limit)
    assert max(map(width, table.text().split("\n"))) <= limit
    assert table.cut
    assert len({row[0] for row in table.rows}) == 5  # their ends tell them apart
    assert not fit(rows, limit=200).cut


def test_the_width_is_the_one_of_a_terminal():
    table = fit([["数" * 30, "a", "1"], ["据" * 30, "b", "2"]], limit=30)
    assert max(map(width, table.text().split("\n"))) <= 30


def test_names_are_shown_as_text():
    assert r"\x1b[31m" in fit([["\x1b[31m", "a", "1"], ["b", "c", "2"]]).text()


def test_said_lines_are_wrapped():
    text = wrapped(["set digits/ipc1/satm", "recipe color_crop_scale_rotate"], 40, before="all: ")
    assert text == "all: set digits/ipc1/satm, recipe\n  color_crop_scale_rotate"
