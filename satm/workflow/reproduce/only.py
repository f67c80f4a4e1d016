"""The filters that select cells of a study, such as `--only dataset=cifar10`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from satm.errors import ConfigError
from satm.studies import Cell

ONLY = ("dataset", "ipc", "method", "arm", "stage", "seed")
Only: TypeAlias = Sequence[tuple[str, tuple[str, ...]]]
"""Filters of cells: for each filter a key of `ONLY`, and the values that this key may have."""


def parse_only(texts: Sequence[str]) -> Only:
    """Parse filters: `method=satm,mtt` becomes ("method", ("satm", "mtt")). Raises ConfigError for a wrong filter."""
    found = []
    for text in texts:
        key, sign, values = text.partition("=")
        parts = tuple(part.strip() for part in values.split(","))
        if not sign or key.strip() not in ONLY or not all(parts):
            raise ConfigError(f"--only {text}: expected KEY=VALUE,… with one of {', '.join(ONLY)}")
        if key.strip() in ("ipc", "stage", "seed") and not all(part.isdecimal() for part in parts):
            raise ConfigError(f"--only {text}: expected whole numbers, such as {key.strip()}=1,10")
        found.append((key.strip(), parts))
    return tuple(found)


def lets_through(only: Only, cell: Cell) -> bool:
    """Whether the filters select the cell and at least one of its seeds."""
    return all(_passes(cell, key, values) for key, values in only) and any(True for _ in seeds_of(cell, only))


def _passes(cell: Cell, key: str, values: tuple[str, ...]) -> bool:
    of_cell = {
        "dataset": cell.condition.dataset,
        "ipc": str(cell.condition.ipc),
        "method": cell.arm.method,
        "arm": cell.name,
        "stage": str(cell.stage),
    }
    return key not in of_cell or of_cell[key] in values


def seeds_of(cell: Cell, only: Only) -> Iterator[int]:
    """The condensation seeds of a cell that the filters select. Only filters of key `seed` are used here."""
    for seed in range(cell.seeds):
        if all(key != "seed" or str(seed) in values for key, values in only):
            yield seed
