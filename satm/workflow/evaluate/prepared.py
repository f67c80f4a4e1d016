"""Loads the real data of a stored set, in the set's preprocessing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Protocol

from satm import data as datasets
from satm.data.catalogue import spec_of
from satm.data.lookup import places
from satm.errors import DataError, RegistryError, SatmError
from satm.exchange import LAYOUTS, ImportConfig
from satm.machine.device import resolve_device
from satm.preprocessing import ZCA
from satm.presets import CondenseConfig
from satm.progress import SILENT, Progress
from satm.synthetic import SyntheticSet
from satm.workflow.condense.inputs import load_data


class SetConfig(Protocol):
    """The settings that an evaluation reads from the configuration of a condensed or an imported set."""

    @property
    def dataset(self) -> str: ...  # noqa: D102
    @property
    def ipc(self) -> int: ...  # noqa: D102
    @property
    def architecture(self) -> str: ...  # noqa: D102
    @property
    def recipe(self) -> str | None: ...  # noqa: D102
    @property
    def validation(self) -> float: ...  # noqa: D102


def set_config(synthetic: SyntheticSet) -> CondenseConfig | ImportConfig:
    """The configuration of a condensed or an imported set. Raises RegistryError for a set that has none."""
    if "condense" in synthetic.config:
        return CondenseConfig.from_dict(synthetic.config["condense"])
    if "import" in synthetic.config:
        return ImportConfig.from_dict(synthetic.config["import"])
    raise RegistryError(
        f"{synthetic.name or 'the set'} does not say how its data were prepared; condense it with this suite, or "
        "import the files it was made from"
    )


def load_prepared(
    synthetic: SyntheticSet, *, data_root: Path | None, device: str = "cpu", progress: Progress = SILENT
) -> datasets.ImageData:
    """The real data set of `synthetic` in its preprocessing. Raises the errors of `satm.data.load`.

    Version 0.1 read fast.ai's archive `imagewoof2` as `imagewoof`, and `imagenette2` as `imagenette`. A set that was
    made from those images gets them again, and a message says so.
    """
    config = set_config(synthetic)
    former = _former_archive(config.dataset, data_root)
    try:
        data = _loaded(synthetic, config, data_root, device, progress)
        if former is None or _made_from(synthetic, data):
            return data
    except DataError:
        if former is None:
            raise
        data = None
    archive = _loaded(synthetic, replace(config, dataset=former), data_root, device, progress)
    if _made_from(synthetic, archive) or data is None:
        progress.say(f"{synthetic.name or 'the set'} says {config.dataset}; the images read for it are {former}'s")
        return replace(archive, name=config.dataset)
    return data


def _loaded(
    synthetic: SyntheticSet,
    config: CondenseConfig | ImportConfig,
    data_root: Path | None,
    device: str,
    progress: Progress,
) -> datasets.ImageData:
    if isinstance(config, CondenseConfig):
        return load_data(config, data_root=data_root, device=device, progress=progress)
    data = load_imported(config, data_root=data_root, device=device, progress=progress)
    if isinstance(synthetic.preprocessing, ZCA) and not synthetic.preprocessing.available:
        whitening(config, data_root=data_root, device=device, progress=progress)
    return data.with_preprocessing(synthetic.preprocessing)


def _former_archive(dataset: str, data_root: Path | None) -> str | None:
    """The archive on this machine that version 0.1 read under the name `dataset`; None if there is none."""
    spec = spec_of(dataset)
    if spec is None or spec.kin is None or not spec.in_imagenet:
        return None
    return spec.kin if any(place.path.is_dir() for place in places(spec.kin, data_root)) else None


def _made_from(synthetic: SyntheticSet, data: datasets.ImageData) -> bool:
    """Whether the set says that it was made from, or checked against, exactly these images."""
    return f"data:{data.fingerprint}" in synthetic.parents


def check_fits(synthetic: SyntheticSet, data: datasets.ImageData) -> None:
    """Raise DataError if the set was made from or checked against other images than `data`, or if shapes differ."""
    named = any(parent.startswith("data:") for parent in synthetic.parents)
    if named and not _made_from(synthetic, data):
        ours = "condense" in synthetic.config
        made, again = ("condensed from", "condense") if ours else ("checked against", "import")
        raise DataError(
            f"the {data.name} images in {data.root} are not the ones {synthetic.name} was {made}; point --data-root at "
            f"those, or {again} again"
        )
    if synthetic.image_shape != data.image_shape or len(synthetic.classes) != len(data.classes):
        shapes = ["×".join(map(str, shape)) for shape in (synthetic.image_shape, data.image_shape)]
        raise DataError(
            f"{synthetic.name or 'the set'} has images of {shapes[0]} and {len(synthetic.classes)} classes, "
            f"{data.name} has {shapes[1]} and {len(data.classes)}; is it another data set?"
        )


def load_imported(
    config: ImportConfig, *, data_root: Path | None, device: str = "cpu", progress: Progress = SILENT
) -> datasets.ImageData:
    """The data set of an imported set, normalised by the catalogue's constants; the caller applies any other space."""
    return datasets.load(
        config.dataset,
        root=data_root,
        image_size=config.image_size,
        validation=config.validation,
        device=resolve_device(device),
        progress=progress,
    )


def whitening(config: ImportConfig, *, data_root: Path | None, device: str = "cpu", progress: Progress = SILENT) -> ZCA:
    """The ZCA transform of the set's layout (the field's or KIP's own), fitted on every training image.

    The validation images count too, because the authors of the set whitened it with them.
    """
    resolved = resolve_device(device)
    data = datasets.load(
        config.dataset,
        root=data_root,
        image_size=config.image_size,
        validation=0.0,
        device=resolved,
        progress=progress,
    )
    unit = data.preprocessing if LAYOUTS.get(config.format).unit_whitening else None
    assert not isinstance(unit, ZCA)
    return datasets.fitted_zca(
        data.train.images, fingerprint=data.fingerprint, unit=unit, device=resolved, progress=progress
    )


def restore_whitening(synthetic: SyntheticSet, *, data_root: Path | None, progress: Progress) -> None:
    """Fit the set's ZCA transform again if its file is lost or damaged. If that fails, as without the data, say so."""
    space = synthetic.preprocessing
    if isinstance(space, ZCA) and not space.available:
        try:
            load_prepared(synthetic, data_root=data_root, progress=progress)
        except SatmError as error:
            progress.say(f"the ZCA transform of {synthetic.name} cannot be fitted again: {error}")
