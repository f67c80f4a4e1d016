"""Sets that were made elsewhere, into the registry."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from registry import Registry, SetRecord
from registry.provenance import environment
from satm import networks
from satm.data.lookup import split_path
from satm.errors import ConfigError, DataError, SatmError
from satm.exchange import (
    LAYOUTS,
    Claims,
    Foreign,
    ImportConfig,
    Layout,
    Space,
    check_moments,
    labels_by_folder,
    parents_of,
    settled_labels,
)
from satm.networks import convnet_depth, convnet_name
from satm.preprocessing import MeanStd
from satm.presets import FOREIGN, ORDER
from satm.progress import SILENT, Progress
from satm.synthetic import SyntheticSet, digest
from satm.types import LabelKind
from satm.workflow.evaluate.prepared import at_hand, check_fits, load_imported, set_config
from satm.workflow.exchange.claimed import classes_of, expected_moments, preprocessing_of


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What `import_set` found, and stored unless it was only asked to look."""

    synthetic: SyntheticSet
    record: SetRecord | None  # None: a dry run
    new: bool  # False: the registry had it already
    notes: tuple[str, ...]  # what was assumed or found, a line each


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
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    architecture: str | None = None,
    force: bool = False,
    dry_run: bool = False,
    registry: Path | str = "satm.db",
    data_root: Path | None = None,
    progress: Progress = SILENT,
) -> Imported:
    """Read a set that was made elsewhere, check it, and store it as a version like any other.

    What the file cannot tell is claimed by the keywords; where it does tell, a claim must agree. The moments of the
    images must fit `preprocessing` (`force` stores them although they do not, and the set says so). The data set is
    read where it lies on this machine, never downloaded; without it, the catalogue's constants are used. Raises
    ConfigError or UnknownName for a claim that is missing or cannot be meant, DataError for anything wrong with the
    file; nothing is stored then.
    """
    chosen = LAYOUTS.get(format)
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
        Registry.open(registry).close()  # a file that is no registry is found out before any work
    foreign = chosen.read(Path(path), index)
    root: str | None = None
    if foreign.whole is not None:
        synthetic = _described(foreign.whole, claims, data_root)
        notes: tuple[str, ...] = ("the file describes itself: taken as it is",)
    else:
        synthetic, root, notes = _claimed(foreign, chosen, claims, force=force, data_root=data_root, progress=progress)
    notes = (*foreign.notes, *notes)
    if dry_run:
        return Imported(synthetic=synthetic, record=None, new=True, notes=notes)
    about = {"format": format, "path": str(path), "files": list(parents_of(foreign.files)), "notes": list(notes)}
    with Registry.open(registry) as store:
        record, new = _store(store, synthetic, about | {"data_root": root})
    return Imported(synthetic=synthetic, record=record, new=new, notes=notes)


def _store(store: Registry, synthetic: SyntheticSet, about: dict[str, Any]) -> tuple[SetRecord, bool]:
    """The set with a run that says where it came from; the run of a set that cannot be stored is marked as failed."""
    there = {record.id: record for record in store.sets()}
    if synthetic.id in there:
        return there[synthetic.id], False
    run = store.start_run(
        key=digest({"import": synthetic.id, "registry": str(store.path.resolve())})[:32],
        kind="import",
        config=about,
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


def _described(whole: SyntheticSet, claims: Claims, data_root: Path | None) -> SyntheticSet:
    """A set that says everything of itself, once no claim contradicts it and an evaluation can read its description."""
    if claims.index is not None:
        raise ConfigError(f"the file holds one set, not several to choose number {claims.index} of; leave --index out")
    if claims.dataset is not None:
        claims = replace(claims, dataset=split_path(claims.dataset, data_root)[0])
    if whole.profile not in ORDER:
        raise DataError(f"its profile is {whole.profile}; expected one of {', '.join(ORDER)}")
    try:
        config = set_config(whole)
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        raise DataError(f"its configuration is damaged ({error!r:.120}); export the set again") from error
    if (config.dataset, config.ipc) != (whole.dataset, whole.ipc):
        raise DataError(f"its configuration is for {config.dataset} at IPC {config.ipc}, not {whole.dataset}")
    space = whole.preprocessing
    constants = (space.mean, space.std) if isinstance(space, MeanStd) else (None, None)
    pixels = isinstance(space, MeanStd) and not any(space.mean) and set(space.std) == {1.0}
    says = {
        "dataset": whole.dataset,
        "ipc": whole.ipc,
        "method": whole.method,
        "labels": whole.label_kind,
        "step_size": whole.step_size,
        "preprocessing": "none" if pixels else space.kind,
        "mean": constants[0],
        "std": constants[1],
        "architecture": config.architecture,
    }
    _agree(claims, says)
    return whole


def _agree(claims: Claims, says: Mapping[str, Any]) -> None:
    """Raise ConfigError where a claim contradicts the file."""
    for name, value in says.items():
        claimed = getattr(claims, name)
        if claimed is not None and claimed != value:
            raise ConfigError(f"the file says {name} {value}, not {claimed}; leave --{name.replace('_', '-')} out")


def _completed(claims: Claims, says: Mapping[str, Any], data_root: Path | None) -> Claims:
    """The claims, with what the configuration beside the file says where the user says nothing."""
    named = claims if claims.dataset is None else replace(claims, dataset=split_path(claims.dataset, data_root)[0])
    if claims.preprocessing == "none" and says.get("preprocessing") == "meanstd":  # it only knows whitened from not
        says = {**says, "preprocessing": "none"}
    _agree(named, says)
    return replace(claims, **{name: value for name, value in says.items() if getattr(claims, name) is None})


def _claimed(
    foreign: Foreign, chosen: Layout, claims: Claims, *, force: bool, data_root: Path | None, progress: Progress
) -> tuple[SyntheticSet, str | None, tuple[str, ...]]:
    """A set from bare tensors and claims; the data root it was checked against, and what was assumed."""
    claims = _completed(claims, foreign.says, data_root)
    if claims.dataset is None:
        raise ConfigError("the file does not say what data set it condenses; give --dataset")
    space = claims.preprocessing or chosen.space
    if space is None:
        raise ConfigError(
            "the file does not say what space its images are in; give --preprocessing meanstd (normalised), zca "
            "(whitened) or none (pixels in 0..1)"
        )
    name, root = split_path(claims.dataset, data_root)
    channels, height, width = foreign.images.shape[1:]
    if height != width:
        raise DataError(f"images are {height}×{width} pixels; expected square ones")
    config = ImportConfig(
        dataset=name,
        ipc=claims.ipc or 1,  # settled below
        image_size=height,
        space=space,
        architecture=claims.architecture or convnet_name(convnet_depth(height), 128),
        format=chosen.name,
        index=claims.index,
    )
    data = load_imported(config, data_root=root, progress=progress) if at_hand(name, root) else None
    notes: list[str] = []
    classes, aliases = classes_of(name, data)
    labels = foreign.labels
    if foreign.folders is not None and labels is not None:
        labels = labels_by_folder(labels, foreign.folders, aliases, len(classes))
    images = foreign.images
    if foreign.soft is not None and labels is not None:
        settled_labels(labels, n=len(images), num_classes=len(classes), ipc=claims.ipc, claimed=None, default=None)
        order = labels.argsort(stable=True)  # a set with soft labels tells its classes by place
        images, labels = images[order], foreign.soft[order]
    labels, kind, ipc = settled_labels(
        labels,
        n=len(images),
        num_classes=len(classes),
        ipc=claims.ipc,
        claimed=claims.labels,
        default=chosen.soft,
    )
    config = replace(config, ipc=ipc)
    networks.plan(config.architecture, num_classes=len(classes), image_shape=(channels, height, width))
    preprocessing = preprocessing_of(config, chosen, claims, data, channels, root, progress)
    if not images.is_floating_point():
        images = preprocessing(images).contiguous()
    else:
        try:
            check_moments(images, expected_moments(config, preprocessing, data), space, of=name)
        except DataError as error:
            if not force:
                raise
            config = replace(config, moments_checked=False)
            notes.append(f"stored by --force: {error}")
    if data is None:
        notes.append(f"{name} is not on this machine: moments were compared with the catalogue's constants")
    rate = _step_size(foreign, claims)
    if rate is None:
        notes.append("no step size is known: evaluations choose a learning rate on the validation split (--step-size)")
    parents = parents_of(foreign.files) + ((f"data:{data.fingerprint}",) if data is not None else ())
    synthetic = SyntheticSet(
        images=images,
        labels=labels,
        label_kind=kind,
        step_size=rate,
        dataset=name,
        classes=classes,
        ipc=ipc,
        method=claims.method or chosen.method,
        preprocessing=preprocessing,
        profile=FOREIGN,
        seed=0,
        config={"import": config.to_dict()},
        parents=parents,
    )
    if data is not None:
        check_fits(synthetic, data)
    return synthetic, data.root if data is not None else None, tuple(notes)


def _step_size(foreign: Foreign, claims: Claims) -> float | None:
    if foreign.step_size is None or claims.step_size is None:
        return foreign.step_size or claims.step_size
    if claims.step_size != foreign.step_size:
        raise ConfigError(f"the file says step size {foreign.step_size!r}, not {claims.step_size!r}; leave it out")
    return foreign.step_size
