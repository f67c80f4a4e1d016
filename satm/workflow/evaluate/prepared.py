"""Loads the real data that belong to a stored set, preprocessed in the same way as the set."""

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
    """The settings that an evaluation reads from the configuration of a condensed or an imported set.

    `validation` is the share of the training images that is held out.
    """

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
    """Return the configuration that a condensed or an imported set stores. Raises RegistryError if it stores none."""
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
    """Return the real data set of `synthetic`, in the preprocessing of the set. Raises the errors of `satm.data.load`.

    Version 0.1 of satm read fast.ai's archive `imagewoof2` under the name `imagewoof`, and `imagenette2` under the name
    `imagenette`. For a set that was made from the images of such an archive, the archive is read again and a message
    says so.
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
    """Return the archive on this machine that version 0.1 of satm read under the name `dataset`, or None."""
    spec = spec_of(dataset)
    if spec is None or spec.kin is None or not spec.in_imagenet:
        return None
    return spec.kin if any(place.path.is_dir() for place in places(spec.kin, data_root)) else None


def _made_from(synthetic: SyntheticSet, data: datasets.ImageData) -> bool:
    """Return whether the set was made from, or checked against, exactly these images.

    A set stores the hash of these images as one of its parents.
    """
    return f"data:{data.fingerprint}" in synthetic.parents


def check_fits(synthetic: SyntheticSet, data: datasets.ImageData) -> None:
    """Raise DataError if `data` are not the images of the set.

    This is so if the set was made from or checked against other images, or if the image shape or the number of classes
    differs.
    """
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
    """Return the real data set of an imported set, normalised by the catalogue's mean and standard deviation.

    If the images of the set are in another space, for example ZCA-whitened, the caller must change the preprocessing.
    """
    return datasets.load(
        config.dataset,
        root=data_root,
        image_size=config.image_size,
        validation=config.validation,
        device=resolve_device(device),
        progress=progress,
    )


def whitening(config: ImportConfig, *, data_root: Path | None, device: str = "cpu", progress: Progress = SILENT) -> ZCA:
    """Return the ZCA whitening transform of an imported set, fitted on every training image.

    The layout of the set's files decides which transform it is: the usual one, or that of KIP, which scales each image
    to length 1. The images that satm holds out for validation are used too, because the authors of the set fitted their
    transform on all training images.
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
    """Fit the set's ZCA transform again if its file is lost or damaged.

    If this fails, for example because the data are not there, a message tells the user and nothing is raised.
    """
    space = synthetic.preprocessing
    if isinstance(space, ZCA) and not space.available:
        try:
            load_prepared(synthetic, data_root=data_root, progress=progress)
        except SatmError as error:
            progress.say(f"the ZCA transform of {synthetic.name} cannot be fitted again: {error}")
