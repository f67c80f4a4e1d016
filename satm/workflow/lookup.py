"""Reading what is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from registry import Registry, SummaryRow
from satm.progress import SILENT, Progress
from satm.synthetic import SyntheticSet


def load(
    reference: str = "latest",
    *,
    registry: Path | str = "satm.db",
    data_root: Path | None = None,
    progress: Progress = SILENT,
) -> SyntheticSet:
    """A stored set as a torch data set with its α (`step_size`) and its `transform` for real images.

    A ZCA transform that is not in `SATM_HOME` is fitted again where the set's data are at hand; otherwise only calling
    `transform` raises DataError. Raises UnknownName for the reference, RegistryError for damage.
    """
    from satm.workflow.evaluate.prepared import restore_whitening

    with Registry.open(registry, must_exist=True, read_only=True) as store:
        synthetic = store.load(reference)
    restore_whitening(synthetic, data_root=data_root, progress=progress)
    return synthetic


def results(*, registry: Path | str = "satm.db", **filters: Any) -> list[SummaryRow]:
    """Mean, spread and n of stored results; filters as `registry.Registry.summary` takes them."""
    with Registry.open(registry, must_exist=True, read_only=True) as store:
        return store.summary(**filters)


def query(sql: str, *, registry: Path | str = "satm.db") -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of an SQL statement on a read-only connection; raises RegistryError for bad SQL."""
    with Registry.open(registry, must_exist=True, read_only=True) as store:
        return store.query(sql)
