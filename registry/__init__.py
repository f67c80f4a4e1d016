"""The registry: one SQLite file with all sets, runs and results, which any SQLite tool can read."""

from __future__ import annotations

from registry.groups import Group
from registry.records import (
    EnvironmentRecord,
    MetricRow,
    RecipeRecord,
    ResultRow,
    RunRecord,
    SetRecord,
    SummaryRow,
)
from registry.results import Results
from registry.runs import Runs

__all__ = [
    "EnvironmentRecord",
    "Group",
    "MetricRow",
    "RecipeRecord",
    "Registry",
    "ResultRow",
    "RunRecord",
    "SetRecord",
    "SummaryRow",
]


class Registry(Runs, Results):
    """Sets, runs and results in one file. Open it with `Registry.open(path)`, preferably in a `with` statement."""
