"""The registry: one SQLite file with all sets, runs and results, which any SQLite tool can read."""

from __future__ import annotations

from registry.groups import Group
from registry.merging import Merged, Merging
from registry.predictions import PredictionRow, Predictions
from registry.records import (
    EnvironmentRecord,
    MetricRow,
    RecipeRecord,
    ResultRow,
    RunRecord,
    SetRecord,
    SummaryRow,
)
from registry.results import CHANCE, DIVERGED, CellKey, CellValues
from registry.verifying import Verifying

__all__ = [
    "CHANCE",
    "DIVERGED",
    "CellKey",
    "CellValues",
    "EnvironmentRecord",
    "Group",
    "Merged",
    "MetricRow",
    "PredictionRow",
    "RecipeRecord",
    "Registry",
    "ResultRow",
    "RunRecord",
    "SetRecord",
    "SummaryRow",
]


class Registry(Merging, Verifying, Predictions):
    """An open registry file with sets, runs, results and predictions.

    Open it with `Registry.open(path)`, preferably in a `with` statement.
    """
