"""`satm doctor` names what can damage a registry."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import pytest

from satm.cli.doctor import sqlite_problem


@pytest.mark.parametrize(
    ("version", "mended"),
    [
        ((3, 40, 1), False),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 52, 0), True),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
    ],
)
def test_versions_of_sqlite_that_may_damage_a_registry_are_named(version: tuple[int, ...], mended: bool) -> None:
    problem = sqlite_problem(version)
    assert (problem is None) is mended
    assert mended or f"SQLite {'.'.join(map(str, version))} may damage" in str(problem)


def test_doctor_says_which_sqlite_is_used(satm: Callable[..., str]) -> None:
    said = satm("doctor")
    assert f"sqlite: {sqlite3.sqlite_version}\n" in said
    assert (sqlite_problem(sqlite3.sqlite_version_info) is None) is ("may damage a registry" not in said)
