"""Imports sets that were made by other code: reads the files, checks the set and stores it in the registry."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from registry import SetRecord
from registry.provenance import environment
from satm.errors import ConfigError, SatmError
from satm.exchange import LAYOUTS, Claims, Foreign, Layout, Space
from satm.exchange.files import parents_of
from satm.exchange.idc import as_grids, cut
from satm.progress import SILENT, Progress
from satm.synthetic import SyntheticSet
from satm.types import LabelKind
from satm.workflow.exchange.claimed import Checked, claimed_set
from satm.workflow.exchange.described import check_described
from satm.workflow.patience import writable_registry


@dataclass(frozen=True, kw_only=True)
class Imported:
    """The result of `import_set`."""

    synthetic: SyntheticSet
    record: SetRecord | None  # the stored set; None after a dry run
    new: bool  # False if the registry had the set already
    notes: tuple[str, ...]  # what was assumed or found out about the set, one line each


def import_set(
    path: Path | str,
    *,
    format: str,
    dataset: str | None = None,
    preprocessing: Space | None = None,
    step_size: float | None = None,
    labels: LabelKind | None = None,
    method: str | None = None,
    ipc: int | None = None,
    index: int | None = None,
    factor: int = 1,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    architecture: str | None = None,
    force: bool = False,
    dry_run: bool = False,
    registry: Path | str = "satm.db",
    data_root: Path | None = None,
    progress: Progress = SILENT,
) -> Imported:
    """Read a set that was made by other code, check it, and store it as a new version like any other set.

    The arguments from `dataset` to `architecture`, except `factor`, state facts about the set (the claims). A fact that
    is also in the file must be the same there. If an image is a grid of smaller images (format `idc`), `factor` is the
    number of small images in one row of the grid. The mean and standard deviation of the images must fit
    `preprocessing`; with `force` other images are stored too, and the set says so. With `dry_run` nothing is stored.
    For the checks the real data set is used, or the constants in the catalogue if it is not on this machine.
    Raises ConfigError or UnknownName if an argument is missing or wrong, and DataError if the file is damaged or does
    not fit the data set. After an error nothing is stored.
    """
    layout = LAYOUTS.get(format)
    claims = Claims(
        dataset=dataset,
        preprocessing=preprocessing,
        step_size=step_size,
        labels=labels,
        method=method,
        ipc=ipc,
        index=index,
        mean=None if mean is None else tuple(mean),
        std=None if std is None else tuple(std),
        architecture=architecture,
    )
    if Path(registry).exists():
        writable_registry(registry, progress).close()  # raises before any work is done if the file is no registry
    if factor != 1 and not layout.factor:
        raise ConfigError(f"factor {factor}: images of format {format} are whole; leave it out")
    foreign = layout.read(Path(path), index)
    given: dict[str, Any] = {"force": force, "data_root": data_root, "progress": progress}
    checked = (
        _checked(foreign, layout, claims, **given) if factor == 1 else _grids(foreign, layout, claims, factor, given)
    )
    if dry_run:
        return Imported(synthetic=checked.synthetic, record=None, new=True, notes=checked.notes)
    origin: dict[str, Any] = {"format": format, "path": str(path), "files": list(parents_of(foreign.files))}
    if factor != 1:
        origin["factor"] = factor
    record, new = _stored(Path(registry), checked, origin, progress)
    return Imported(synthetic=checked.synthetic, record=record, new=new, notes=checked.notes)


def _grids(foreign: Foreign, layout: Layout, claims: Claims, factor: int, given: Mapping[str, Any]) -> Checked:
    """Return the checked set whose images are grids of `factor`² smaller images.

    The checks are made on the smaller images; `given` are further arguments of `_checked`. The returned set stores the
    grids.
    """
    pieces = cut(foreign, factor)
    seen = replace(claims, ipc=None if claims.ipc is None else claims.ipc * factor**2)
    checked = _checked(pieces, layout, seen, **given)
    return replace(checked, synthetic=as_grids(checked.synthetic, foreign, factor))


def _checked(
    foreign: Foreign, layout: Layout, claims: Claims, *, force: bool, data_root: Path | None, progress: Progress
) -> Checked:
    """Return the checked set of a file.

    It is the set that the file describes or, if the file has no description, a set that is built with the claims.
    """
    if foreign.whole is not None:
        check_described(foreign.whole, claims, data_root)
        checked = Checked(synthetic=foreign.whole, notes=("the file describes itself: taken as it is",))
    else:
        checked = claimed_set(foreign, layout, claims, force=force, data_root=data_root, progress=progress)
    return replace(checked, notes=(*foreign.notes, *checked.notes))


def _stored(registry: Path, checked: Checked, origin: Mapping[str, Any], progress: Progress) -> tuple[SetRecord, bool]:
    """Store the set, together with a run that says where the set came from.

    Returns the record of the set, and whether the set is new in the registry. If the registry raises an error for the
    set, the run is marked as failed.
    """
    synthetic = checked.synthetic
    with writable_registry(registry, progress, must_exist=False) as store:
        key = store.run_key({"import": synthetic.id})
        there = {record.id: record for record in store.sets()}
        if synthetic.id in there:
            before = store.find_run(key)
            if before is not None and before.status != "done":  # an import was killed just after it stored the set
                store.finish_run(before.id, status="done", set_id=synthetic.id)
            return there[synthetic.id], False
        run = store.start_run(
            key=key,
            kind="import",
            config={**origin, "notes": list(checked.notes), "data_root": checked.root},
            profile=synthetic.profile,
            dataset=synthetic.dataset,
            method=synthetic.method,
            ipc=synthetic.ipc,
            seed=synthetic.seed,
            device="cpu",
            environment=environment(),
            command=" ".join(sys.argv),
        )
        try:
            record = store.add_set(synthetic, run=run)
        except SatmError as error:
            store.finish_run(run, status="failed", message=str(error))
            raise
        store.finish_run(run, status="done", set_id=record.id)
        return record, True
