"""What a claimed data set and space mean for an imported set: its classes, its transform, its expected moments."""

from __future__ import annotations

from pathlib import Path

from satm import data as datasets
from satm.data import CATALOGUE
from satm.data.normalise import measured_mean_std
from satm.errors import ConfigError, DataError
from satm.exchange import Claims, ImportConfig, Layout, Moments
from satm.preprocessing import MeanStd, Preprocessing, unit_range
from satm.progress import Progress
from satm.workflow.evaluate.prepared import whitening

_SAMPLE = 5000  # real images that expected moments are measured on


def classes_of(name: str, data: datasets.ImageData | None) -> tuple[tuple[str, ...], dict[str, int]]:
    """Class names by label, and every name a folder of a class may have."""
    spec = CATALOGUE.get(name) if name in CATALOGUE else None
    if data is not None:
        classes = data.classes
    elif spec is not None:
        classes = spec.classes if isinstance(spec.classes, tuple) else tuple(map(str, range(spec.classes)))
    else:
        raise DataError(f"'{name}' is not in the catalogue and not on this machine; give --data-root")
    named = {each: label for label, each in enumerate(classes)}
    ids = {wnid: label for label, (_, wnid, _) in enumerate(spec.subset)} if spec is not None else {}
    return classes, ids | named


def preprocessing_of(
    config: ImportConfig,
    chosen: Layout,
    claims: Claims,
    data: datasets.ImageData | None,
    channels: int,
    root: Path | None,
    progress: Progress,
) -> Preprocessing:
    """What takes real images into the claimed space: stated, the format's constants, the catalogue's, or measured."""
    if config.space == "none":
        return MeanStd(mean=(0.0,) * channels, std=(1.0,) * channels)
    if config.space == "zca":
        if data is None:
            raise DataError(
                f"a whitened set needs {config.dataset}'s training images to fit the whitening, and they are not on "
                "this machine; give --data-root"
            )
        return whitening(config, data_root=root, progress=progress)
    if claims.mean is not None and claims.std is not None:
        if not len(claims.mean) == len(claims.std) == channels:
            raise ConfigError(f"mean {claims.mean} and std {claims.std}: the images have {channels} channels")
        return MeanStd(mean=claims.mean, std=claims.std)
    borrowed = "cifar10" if config.dataset == "cifar100" and chosen.cifar10_constants else config.dataset
    if borrowed in CATALOGUE:
        spec = CATALOGUE.get(borrowed)
        if spec.channels != channels:
            raise DataError(f"images have {channels} channels; those of {config.dataset} have {spec.channels}")
        return MeanStd(mean=spec.mean, std=spec.std)
    assert data is not None  # `classes_of` refuses a set that is neither in the catalogue nor here
    return data.preprocessing


def expected_moments(config: ImportConfig, preprocessing: Preprocessing, data: datasets.ImageData | None) -> Moments:
    """The moments of real images in the set's space: measured, or the catalogue's constants taken there."""
    if data is None:
        spec = CATALOGUE.get(config.dataset)
        pixels = MeanStd(mean=spec.mean, std=spec.std)
    else:
        some = data.train.images[:: max(1, len(data.train) // _SAMPLE)]
        if not isinstance(preprocessing, MeanStd):
            return Moments.of(preprocessing(unit_range(some)))
        pixels = measured_mean_std(some)
    assert isinstance(preprocessing, MeanStd)  # whitening is fitted on data only
    if len(pixels.mean) != len(preprocessing.mean):
        raise DataError(f"images have {len(preprocessing.mean)} channels; {config.dataset} has {len(pixels.mean)}")
    return Moments(pixels.mean, pixels.std).normalised(preprocessing)
