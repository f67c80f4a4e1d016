"""The paper's numbers, read from `paper.csv`. tests/golden/paper.py makes this file from a table read off the paper."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperNumber:
    """One number that the paper prints. An accuracy is in percent, memory in GB, time in seconds."""

    table: str
    dataset: str
    ipc: int | None
    arm: str  # the name that the studies use for the paper's method
    architecture: str  # "" for the architecture that the sets were made with
    metric: str
    value: float
    spread: float | None  # the ± value; the paper does not say what it measures


@cache
def paper_numbers() -> dict[tuple[str, str, int | None, str, str, str], PaperNumber]:
    """Every number of the paper's tables. The key is (table, data set, IPC, arm, architecture, metric)."""
    found = {}
    with (files("satm.studies") / "paper.csv").open(encoding="utf-8") as file:
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
