"""Exports sets of the registry in other people's layouts, and compares two sets."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from registry import Registry, SetRecord
from satm.errors import DataError
from satm.exchange import LAYOUTS, Difference, differences
from satm.home import make_folder, put_in_place
from satm.progress import SILENT, Progress
from satm.workflow.lookup import load


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The result of `export_set`."""

    record: SetRecord  # the stored set that was exported
    path: Path  # the file or folder that was written
    losses: tuple[str, ...]  # the facts about the set that the layout cannot hold, one line each


def export_set(
    reference: str,
    path: Path | str,
    *,
    format: str,
    registry: Path | str = "satm.db",
    data_root: Path | None = None,
    progress: Progress = SILENT,
) -> Exported:
    """Write a stored set to `path` in another layout. The result says which facts about the set the layout cannot hold.

    `path` becomes a file or, if the layout has several files, a folder. If writing fails, nothing is left at `path`.
    Raises DataError if `path` exists already or cannot be written, and UnknownName if the set or the format is not
    known.
    """
    chosen = LAYOUTS.get(format)
    target = Path(path).expanduser().absolute()
    if os.path.lexists(target):
        raise DataError(f"{target} already exists; name another path, or remove it first")
    with Registry.open(registry, must_exist=True, read_only=True) as store:
        record = store.find(reference)
    synthetic = load(record.name, registry=registry, data_root=data_root, progress=progress)
    make_folder(target.parent)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
            made = Path(folder) / target.name
            written = synthetic if chosen.keeps(synthetic) else synthetic.decoded
            losses = chosen.write(written, made)
            put_in_place(made, target)
    except OSError as error:
        raise DataError(f"{target} cannot be written: {error.strerror or error}") from error
    if written is not synthetic:
        losses = (
            f"the {len(written.images)} images that networks see are written, not the {record.images} stored ones "
            f"({synthetic.parametrisation.spell()}), which safetensors and parquet keep",
            *losses,
        )
    return Exported(record=record, path=target, losses=losses)


def diff(a: str, b: str, *, registry: Path | str = "satm.db") -> list[Difference]:
    """Return the differences between the stored sets `a` and `b`. The list is empty if both names mean the same set.

    Raises UnknownName if a set is not known.
    """
    with Registry.open(registry, must_exist=True, read_only=True) as store:
        return differences(store.load(a), store.load(b))
