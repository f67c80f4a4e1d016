"""The registry: one SQLite file that holds every set, run and result, and can be read by any SQLite tool."""

from __future__ import annotations

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
    "MetricRow",
    "RecipeRecord",
    "Registry",
    "ResultRow",
    "RunRecord",
    "SetRecord",
    "SummaryRow",
]


class Registry(Runs, Results):
    """Sets, runs and results in one file; open it with `Registry.open(path)`, best as a context manager."""
