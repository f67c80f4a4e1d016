"""The paper's numbers, as `paper.csv` holds them (tests/golden/paper.py writes it from a table of them)."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperNumber:
    """One printed number. An accuracy is in percent, memory in GB, time in seconds."""

    table: str
    dataset: str
    ipc: int | None
    arm: str  # as the studies call it
    architecture: str  # "" for the sets' own
    metric: str
    value: float
    spread: float | None  # as printed; the paper does not say of what


@cache
def paper_numbers() -> dict[tuple[str, str, int | None, str, str, str], PaperNumber]:
    """Every number of the paper's tables, by (table, data set, IPC, arm, architecture, metric)."""
    found = {}
    with (files("satm.studies") / "paper.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            number = PaperNumber(
                table=row["table"],
                dataset=row["dataset"],
                ipc=int(row["ipc"]) if row["ipc"] else None,
                arm=row["arm"],
                architecture=row["architecture"],
                metric=row["metric"],
                value=float(row["value"]),
                spread=float(row["spread"]) if row["spread"] else None,
            )
            key = (number.table, number.dataset, number.ipc, number.arm, number.architecture, number.metric)
            found[key] = number
    return found
