"""Reads what the registry stores: sets, results and SQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry import Registry, SummaryRow
from satm.progress import SILENT, Progress

if TYPE_CHECKING:
    from satm.synthetic import SyntheticSet


def load(
    reference: str = "latest",
    *,
    registry: Path | str = "satm.db",
    data_root: Path | None = None,
    progress: Progress = SILENT,
) -> SyntheticSet:
    """A stored set: a torch data set with its step size α (`step_size`) and its `transform` for real images.

    `reference` is the set's name such as `digits/ipc1/satm@1`, a tag, the first digits of the set's id, or `latest`.

    If the set was whitened by ZCA, its `transform` needs the ZCA matrix. If the matrix is not in `SATM_HOME`, it is
    fitted again on the set's real data. If these data are not on this machine, `load` still works, and only a call of
    `transform` raises DataError.

    Raises UnknownName for an unknown reference, and RegistryError for damaged tensors.
    """
    from satm.workflow.evaluate.prepared import restore_whitening

    with Registry.open(registry, must_exist=True, read_only=True) as store:
        synthetic = store.load(reference)
    restore_whitening(synthetic, data_root=data_root, progress=progress)
    return synthetic


def results(*, registry: Path | str = "satm.db", **filters: Any) -> list[SummaryRow]:
    """Mean, standard deviation and n of stored results. The filters are those of `registry.Registry.summary`."""
    with Registry.open(registry, must_exist=True, read_only=True) as store:
        return store.summary(**filters)


def query(
    sql: str, *, registry: Path | str = "satm.db", timeout: float | None = None
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Run an SQL statement that only reads the registry. Returns the names of its columns, and its rows.

    Raises RegistryError for wrong SQL, and for a query that takes longer than `timeout` seconds.
    """
    with Registry.open(registry, must_exist=True, read_only=True) as store:
        return store.query(sql, timeout=timeout)
